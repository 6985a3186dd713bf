"""decord against PyAV: milliseconds to read a sampled clip, both proven to return the same pixels.

Question: is decord, the default for H.264 in MP4, at least as fast? Clips: the embedded ones (112 x 112, 8 frames a
second) and one like MSR-VTT's (320 x 240, 25 frames a second, 15 s). Both sides read the same clips in turn, from the
page cache, one thread each; `ratio` is PyAV's best round over decord's, so above 1 decord is faster.
Command: python benchmarks/decoding.py
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np

from vqlora.data.sets import open_data
from vqlora.video.decode import VideoInfo, probe, read_frames
from vqlora.video.samplers import uniform

RESULT = Path(__file__).parent / "results" / "decoding.json"
ROUNDS = 7


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        embedded = [clip.path for example in open_data("shapes:tiny").train for clip in example.clips]
        long = [str(write_like_msrvtt(Path(folder) / "long.mp4"))]
        rows = [measure("embedded", embedded, budget) for budget in (2, 8, 16)]
        rows += [measure("320x240 15 s", long, budget) for budget in (2, 8, 16)]
    print(f"{'clips':>14} {'frames':>7} {'decord ms':>10} {'pyav ms':>10} {'ratio':>6}")
    for row in rows:
        times = f"{row['decord_ms']:>10.2f} {row['pyav_ms']:>10.2f} {row['ratio']:>6.2f}"
        print(f"{row['clips']:>14} {row['frames']:>7} {times}")
    versions = {name: version(name) for name in ("av", "decord", "numpy")} | {"python": platform.python_version()}
    result = {"benchmark": "decoding", "device": processor(), "versions": versions, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def measure(name: str, paths: Sequence[str], budget: int) -> dict[str, Any]:
    """Milliseconds per clip of each decoder, the best of ROUNDS; pixels are compared first."""
    clips = [(path, info, uniform(budget, info.frames)) for path, info in ((path, probe(path)) for path in paths)]
    for path, info, indices in clips:
        fast, reference = (read_frames(path, indices, decoder, info).frames for decoder in ("decord", "pyav"))
        assert np.array_equal(fast, reference), f"{path}: the decoders differ"
    seconds: dict[str, list[float]] = {"decord": [], "pyav": []}
    for _ in range(ROUNDS):
        seconds["decord"].append(seconds_of("decord", clips))
        seconds["pyav"].append(seconds_of("pyav", clips))
    decord_ms, pyav_ms = (1000 * min(seconds[side]) / len(clips) for side in ("decord", "pyav"))
    return {"clips": name, "frames": budget, "decord_ms": decord_ms, "pyav_ms": pyav_ms, "ratio": pyav_ms / decord_ms}


def seconds_of(decoder: Any, clips: Sequence[tuple[str, VideoInfo, Sequence[int]]]) -> float:
    began = time.perf_counter()
    for path, info, indices in clips:
        read_frames(path, indices, decoder, info)
    return time.perf_counter() - began


def write_like_msrvtt(path: Path) -> Path:
    """15 s of moving gradients with noise in the size and rate of MSR-VTT's clips."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:240, 0:320]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(375):
            gradient = np.stack([x + 3 * number, y + 2 * number, x + y], axis=-1) // 2 % 256
            noisy = (gradient + rng.integers(0, 12, gradient.shape)).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def processor() -> str:
    """The CPU's name, as Linux states it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


if __name__ == "__main__":
    main()
