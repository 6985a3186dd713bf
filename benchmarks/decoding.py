"""Sampled frames of a clip: this project's reader against each library used directly, on the same clips.

Question: what do true indices, checks and a killable process cost? 20 clips of 640 x 360, 6 s at 25 frames a second,
H.264 in MP4 with one key frame (x264's default at this length) or one every second; 8 and 32 frames at the
centres of equal bins. Peers: PyAV decoding in order, decord, torchcodec where it imports; one thread each. A peer whose
pixels differ from PyAV's on a clip is out there. Rounds are interleaved and medians taken; a clip's ratio is ours over
the fastest correct peer, and rows hold geometric means. Goals: 1.05 in process, 1.3 through the killable worker, and an
epoch over cached frames 50 times faster than decoding. Command: python benchmarks/decoding.py [--clips N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np

from vqlora.data.example import Clip
from vqlora.recipe import Frames
from vqlora.video.cli import chosen
from vqlora.video.frames import FrameStore
from vqlora.video.killable import call

RESULT = Path(__file__).parent / "results" / "decoding.json"
WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 25, 6
GOALS = {"in process": 1.05, "killable": 1.3}
Read = Callable[[str, int], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    peers, absent = known_peers()
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(write_clip(Path(folder) / f"{n}.mp4", n)) for n in range(options.clips)]
        rows = [row for budget in (8, 32) for row in measure(paths, budget, peers, options.rounds)]
        rows.append(measure_cache(paths, Path(folder) / "cache"))
    print(f"{'row':>12} {'frames':>7} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'goal':>6}")
    for row in rows:
        times = f"{row['ours_ms']:>9.2f} {row['peer_ms']:>9.2f}"
        print(f"{row['row']:>12} {row['frames']:>7} {times} {row['ratio']:>7.3f} {row['goal']:>6}")
    versions = {name: version(name) for name in ("av", "decord", "numpy")} | {"python": platform.python_version()}
    result = {"benchmark": "decoding", "device": processor(), "versions": versions, "absent": absent, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def measure(paths: Sequence[str], budget: int, peers: dict[str, Read], rounds: int) -> list[dict[str, Any]]:
    """Rows 'in process' and 'killable': geometric means over clips of medians over rounds."""
    ours: dict[str, Read] = {"in process": in_process, "killable": killable}
    ratios: dict[str, list[float]] = {side: [] for side in ours}
    times: dict[str, list[float]] = {side: [] for side in [*ours, "peer"]}
    wrong: dict[str, int] = dict.fromkeys(peers, 0)
    for path in paths:
        right = peers["pyav"](path, budget)
        correct = {name: read for name, read in peers.items() if np.array_equal(read(path, budget), right)}
        for name in peers:
            wrong[name] += name not in correct
        assert all(np.array_equal(read(path, budget), right) for read in ours.values()), path
        seconds = {name: [0.0] * rounds for name in [*ours, *correct]}
        for number in range(rounds):
            for name, read in {**ours, **correct}.items():
                seconds[name][number] = seconds_of(read, path, budget)
        middle = {name: statistics.median(own) for name, own in seconds.items()}
        best = min(middle[name] for name in correct)
        times["peer"].append(best)
        for side in ours:
            times[side].append(middle[side])
            ratios[side].append(middle[side] / best)
    mean = statistics.geometric_mean
    return [
        {
            "row": side,
            "frames": budget,
            "ours_ms": 1000 * mean(times[side]),
            "peer_ms": 1000 * mean(times["peer"]),
            "ratio": mean(ratios[side]),
            "goal": GOALS[side],
            "clips": len(paths),
            "wrong": wrong,
        }
        for side in ours
    ]


def measure_cache(paths: Sequence[str], cache: Path) -> dict[str, Any]:
    """An epoch that decodes into the cache, and the median of five that read it."""
    store = FrameStore(cache, Frames(budget=8, size=112))

    def epoch() -> float:
        began = time.perf_counter()
        for path in paths:
            store.get(Clip(path=path)).frames.sum()
        return time.perf_counter() - began

    killable(paths[0], 8)  # a worker's start is no clip's
    first, again = epoch(), statistics.median(epoch() for _ in range(5))
    shown = {"ours_ms": 1000 * again / len(paths), "peer_ms": 1000 * first / len(paths)}
    return {"row": "cached epoch", "frames": 8, **shown, "ratio": first / again, "goal": 50, "clips": len(paths)}


def centres(budget: int, frames: int) -> list[int]:
    """What the sampler 'uniform' takes."""
    return [(2 * place + 1) * frames // (2 * budget) for place in range(budget)]


def in_process(path: str, budget: int) -> np.ndarray:
    return chosen(path, Frames(budget=budget))[1].frames


def killable(path: str, budget: int) -> np.ndarray:
    return call(chosen, path, Frames(budget=budget))[1].frames


def known_peers() -> tuple[dict[str, Read], list[str]]:
    """The libraries that import here, and those that don't."""
    peers: dict[str, Read] = {"pyav": by_pyav, "decord": by_decord}
    try:
        import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError):
        return peers, ["torchcodec"]
    return {**peers, "torchcodec": by_torchcodec}, []


def by_pyav(path: str, budget: int) -> np.ndarray:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted, found = set(centres(budget, stream.frames)), []
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == len(wanted):
                break
    return np.stack(found)


def by_decord(path: str, budget: int) -> np.ndarray:
    reader = import_module("decord").VideoReader(path, num_threads=1)
    return reader.get_batch(centres(budget, len(reader))).asnumpy()


def by_torchcodec(path: str, budget: int) -> np.ndarray:
    decoder = import_module("torchcodec.decoders").VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")
    return decoder.get_frames_at(centres(budget, len(decoder))).data.numpy()


def seconds_of(read: Read, path: str, budget: int) -> float:
    began = time.perf_counter()
    read(path, budget)
    return time.perf_counter() - began


def write_clip(path: Path, number: int) -> Path:
    """A window that wanders over a grainy picture; odd clips have a key frame every second."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0 : 2 * HEIGHT, 0 : 2 * WIDTH]
    gradient = np.stack([x // 5, y // 3, (x + y) // 8], axis=-1)
    picture = (gradient + rng.integers(0, 16, gradient.shape)).astype(np.uint8)
    options = {"crf": "23", "preset": "veryfast", "x264-params": f"keyint={FPS if number % 2 else FPS * SECONDS}"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for place in range(FPS * SECONDS):
            top, left = 2 * place % HEIGHT, (3 + number % 3) * place % WIDTH
            window = np.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def processor() -> str:
    """The CPU's name, as Linux states it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


if __name__ == "__main__":
    main()
