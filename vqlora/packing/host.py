"""A warm worker of a packed study: takes trials from the board, so imports, base, frames and features are paid once.

Runs inside a Ray Train worker; the board is `vqlora.packing.board`. Trials take turns, or several that fit together run
as threads that share every step (`vqlora.packing.pack`).
"""

from __future__ import annotations

import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.exceptions import RayActorError

from vqlora.asked import asked_from_json
from vqlora.endings import Interrupted, Stopped
from vqlora.extend import once
from vqlora.ledger import Ledger
from vqlora.packing.keys import pack_key
from vqlora.store import TrialStore, study_store
from vqlora.trial import is_validation, run_trial, values

if TYPE_CHECKING:
    from vqlora.packing.pack import Pack
    from vqlora.recipe import Recipe
    from vqlora.warm import Warm

POLL_SECONDS = 0.05
BEAT_SECONDS = 2.0
NAMESPACE = "vqlora"


@dataclass(kw_only=True)
class BoardChannel:
    """A running trial's line to its Tune trial, over the board. waits: obey the scheduler after each validation.

    leaves: set when the study ends.
    """

    board: Any
    worker: str
    trial: str
    waits: bool
    leaves: threading.Event

    def send(self, row: Mapping[str, Any]) -> None:
        try:
            verdict, number = ray.get(self.board.send.remote(self.trial, self.worker, dict(row)))
            if self.waits and is_validation(row):
                while (verdict := ray.get(self.board.verdict.remote(self.trial, self.worker, number))) == "wait":
                    time.sleep(POLL_SECONDS)
        except RayActorError as error:  # the board's process was killed, which is no finding of this trial
            raise Interrupted(f"{self.trial}: the study's queue is gone") from error
        if verdict == "stop":
            raise Stopped(f"{self.trial}: the scheduler stopped it")
        if verdict == "leave":
            raise Interrupted(f"{self.trial}: the study ends, or the trial was given to another worker")

    def must_leave(self) -> bool:
        return self.leaves.is_set()

    def save(self, ledger: Ledger, step: int, state: bytes) -> None:
        ledger.write_state(step, state)

    def restore(self, trial: TrialStore) -> bytes | None:
        return trial.read_state()


def work(config: Mapping[str, Any]) -> None:
    """The loop of one worker, until the board sends it away. Called by Ray Train on each worker."""
    import torch

    from vqlora.memory_cap import cap_memory
    from vqlora.warm import Warm

    device = "cuda" if config["is_gpu"] else "cpu"
    once(config["extend"])
    cap_memory(config["memory_cap_gib"])
    if not config["is_gpu"]:
        torch.set_num_threads(1)  # one worker a core; the number of threads changes the last bits of a sum
    board = ray.get_actor(config["board"], namespace=NAMESPACE)
    worker = uuid.uuid4().hex
    ray.get(board.join.remote(ray.train.get_context().get_world_rank(), worker))
    leaves = threading.Event()
    threading.Thread(target=_beat, args=(board, leaves), daemon=True).start()
    warm, shared, key = Warm(), None, None
    threads: list[threading.Thread] = []
    while True:
        threads = [thread for thread in threads if thread.is_alive()]
        if not threads and shared is not None:
            shared.close()
            shared = key = None
        order, plain = "wait", None
        if len(threads) < (shared.room() if shared else 1):
            order, plain = ray.get(board.take.remote(worker, key))
        if order == "leave":
            break
        if order == "wait" or plain is None:
            time.sleep(POLL_SECONDS)
            continue
        if config["together"] == 1 or pack_key(plain) is None:
            _run(plain, config, board, worker, leaves, device, warm)
            continue
        if shared is None:
            key, shared = pack_key(plain), Shared(warm, device, config["together"])
        threads.append(threading.Thread(target=_run, args=(plain, config, board, worker, leaves, device, warm, shared)))
        threads[-1].start()
    for thread in threads:  # each hears at its next row that it leaves
        thread.join()


class Shared:
    """The pack of a worker's trials, made by the first of them that needs it, so that its failure is a trial's."""

    def __init__(self, warm: Warm, device: str, capacity: int) -> None:
        self._warm, self._device, self._capacity = warm, device, capacity
        self._lock = threading.Lock()
        self._pack: Pack | None = None

    def pack(self, recipe: Recipe) -> Pack:
        """The pack on the recipe's base. Errors as of loading it."""
        from vqlora.packing.pack import Pack

        with self._lock:
            self._pack = self._pack or Pack(self._warm.base(recipe, self._device))
            return self._pack

    def close(self) -> None:
        """The next pack has the device to itself."""
        if self._pack is not None:
            self._pack.close()

    def room(self) -> int:
        """How many trials may run at once: on a GPU one until it was probed, then as many as fit."""
        if self._device == "cpu":
            return self._capacity
        return min(self._capacity, self._pack.room()) if self._pack else 1


def _run(
    plain: Mapping[str, Any],
    config: Mapping[str, Any],
    board: Any,
    worker: str,
    leaves: threading.Event,
    device: str,
    warm: Warm,
    shared: Shared | None = None,
) -> None:
    asked = asked_from_json({name: value for name, value in plain.items() if name != "stale"})
    print(f"{asked.study}: {asked.trial} starts", flush=True)
    channel = BoardChannel(board=board, worker=worker, trial=asked.trial, waits=config["waits"], leaves=leaves)
    store = study_store(config["storage"], asked.study, asked.version)
    try:
        record = store.trial(asked.trial).newer_record(plain["stale"]) or run_trial(  # of a worker that then died
            asked,
            store,
            device=device,
            executor=config["label"] + ("" if shared is None else ", steps shared"),
            channel=channel,
            warm=warm,
            pack_of=None if shared is None else shared.pack,
        )
    except Interrupted:
        return
    except Exception:  # not of the trial but of what surrounds it, such as its storage: it may work the next time
        ray.get(board.give_back.remote(asked.trial, worker, traceback.format_exc().rstrip()))
        return
    ray.get(board.finish.remote(asked.trial, worker, values(record)))
    print(f"{asked.study}: {asked.trial} is {record.status.value}", flush=True)


def _beat(board: Any, leaves: threading.Event) -> None:
    """Tells the board that this process lives, also through a long evaluation, and hears when the study ends."""
    while True:
        if ray.get(board.beat.remote()):
            leaves.set()
        time.sleep(BEAT_SECONDS)
