"""Calls in processes that can be killed: a decoder that hangs, crashes or fills the memory ends its worker only.

`call(function, *arguments)` runs a module's function in a worker and gives its result; arrays come back through a file
in memory, without being copied through the pipe. A worker serves one call at a time and is kept for the next. It ends
when its parent does, by itself where a call outlasts twice its limit.
"""

from __future__ import annotations

import atexit
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from select import select
from typing import Any, TypeVar

import numpy as np

from vqlora.video.video_info import DecodeError

Result = TypeVar("Result")
LIMIT_SECONDS = 60.0  # of a call; VQLORA_CLIP_SECONDS sets another one
LIMIT_GIB = 4.0  # of a worker's memory; VQLORA_CLIP_GIB sets another one
START_SECONDS = 60.0  # for the imports of a new worker
MEMORY_FOLDER = "/dev/shm"
SIZE_BYTES = 8  # of the number before each message


def call(function: Callable[..., Result], *arguments: Any, limit_seconds: float | None = None) -> Result:
    """The function's result, or the exception that it raised.

    function: of a module's top level. arguments: the first names the file in messages; all can be pickled.
    Raises DecodeError where the call takes longer or more memory than its limit, or the worker dies.
    """
    limit = limit_seconds or float(os.environ.get("VQLORA_CLIP_SECONDS") or LIMIT_SECONDS)
    with _borrowed() as worker:
        return worker.run(function, arguments, limit)


class _Worker:
    """One process that runs calls from its standard input."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "vqlora.video.killable"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.is_new = True

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...], limit: float) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        folder = MEMORY_FOLDER if os.path.isdir(MEMORY_FOLDER) else None
        handle, place = tempfile.mkstemp(prefix="vqlora-", dir=folder)
        os.close(handle)
        try:
            self.process.stdin.write(_message((function.__module__, function.__qualname__, arguments, place, limit)))
            self.process.stdin.flush()
            ready, _, _ = select([self.process.stdout], [], [], limit + (START_SECONDS if self.is_new else 0))
            if not ready:
                self.stop()
                raise _too_long(arguments[0], limit)
            self.is_new = False
            return _reply(self.process.stdout, place)
        except (EOFError, BrokenPipeError) as error:
            self.stop()
            if self.process.returncode == -signal.SIGALRM:
                raise _too_long(arguments[0], limit) from error
            raise DecodeError(
                f"{arguments[0]}: the decoder's process died ({_fate(self.process.returncode)})"
            ) from error
        finally:
            Path(place).unlink(missing_ok=True)

    def stop(self) -> None:
        """Kills the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # what was not yet written has nobody to read it
                    continue


_idle: list[_Worker] = []
_lock = threading.Lock()


@contextmanager
def _borrowed() -> Iterator[_Worker]:
    """A worker of this process's own; a forked child does not inherit its parent's."""
    with _lock:
        owner = os.getpid()
        worker = next(
            (one for one in _idle if one.process.poll() is None and _owner.get(one.process.pid) == owner), None
        )
        if worker is not None:
            _idle.remove(worker)
    worker = worker or _Worker()
    _owner[worker.process.pid] = owner
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            with _lock:
                _idle.append(worker)


_owner: dict[int, int] = {}  # pid of a worker -> pid of the process that started it


@atexit.register
def _stop_all() -> None:
    for worker in _idle:
        if _owner.get(worker.process.pid) == os.getpid():
            worker.stop()


def _message(content: Any) -> bytes:
    raw = pickle.dumps(content, protocol=5)
    return len(raw).to_bytes(SIZE_BYTES) + raw


def _read(stream: Any) -> bytes:
    size = stream.read(SIZE_BYTES)
    raw = stream.read(int.from_bytes(size)) if len(size) == SIZE_BYTES else b""
    if len(size) < SIZE_BYTES or len(raw) < int.from_bytes(size):
        raise EOFError("the other end is gone")
    return raw


def _reply(stream: Any, place: str) -> Any:
    """The result, its arrays mapped from the file."""
    is_result, raw, sizes = pickle.loads(_read(stream))
    whole = np.memmap(place, np.uint8, mode="c") if sum(sizes) else np.zeros(0, np.uint8)
    ends = np.cumsum(sizes).tolist()
    content = pickle.loads(raw, buffers=[whole[end - size : end] for size, end in zip(sizes, ends, strict=True)])
    if is_result:
        return content
    raise content


def _too_long(path: object, limit: float) -> DecodeError:
    return DecodeError(f"{path}: took longer than {limit:g} s; its worker was killed")


def _too_big(path: object, gib: float) -> DecodeError:
    return DecodeError(f"{path}: takes more than {gib:g} GiB of memory; VQLORA_CLIP_GIB allows another number")


def _fate(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"


def _serve() -> None:
    """A worker's life: a call, its reply, the next call."""
    reader, writer = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not end among the replies
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # its default, to die, works inside a library that hangs
    gib = float(os.environ.get("VQLORA_CLIP_GIB") or LIMIT_GIB)
    while True:
        try:
            module, name, arguments, place, limit = pickle.loads(_read(reader))
        except EOFError:
            return
        function = getattr(import_module(module), name)
        _bound_memory(gib)
        signal.setitimer(signal.ITIMER_REAL, 2 * limit + 1)
        try:
            content, is_result = function(*arguments), True
        except MemoryError:
            content, is_result = _too_big(arguments[0], gib), False
        except Exception as error:
            content, is_result = error, False
        signal.setitimer(signal.ITIMER_REAL, 0)
        buffers: list[pickle.PickleBuffer] = []
        raw = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
        with open(place, "wb") as file:
            sizes = [file.write(buffer.raw()) for buffer in buffers]
        writer.write(_message((is_result, raw, sizes)))
        writer.flush()


def _bound_memory(gib: float) -> None:
    """Of data, not of addresses: libraries reserve many gigabytes of those."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30), most))


if __name__ == "__main__":
    _serve()
