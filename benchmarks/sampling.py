"""Frame signals against PySceneDetect's AdaptiveDetector and against decoding: milliseconds a clip, and cuts found.

Question: do the packet stage (sizes and key frames, nothing decoded) and the signal pass (motion, entropy, cuts) cost
as little as claimed, and are the cuts found at least as well? Clips: 640 x 360 H.264 at 25 frames a second, 300 and 600
frames, of known shots: panned, still or zoomed textures with grain and moving things, some shots alike in colour.
Both sides read the same files in turn, from the page cache, one thread each; milliseconds are the best round's.
Goals: packets at least 20 times faster than decoding, signals at least 3 times faster than the detector, F1 not below.
Command: python benchmarks/sampling.py        (pip install 'vqlora[bench]')
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from decoding import processor
from PIL import Image

from vqlora.video.decode import VideoInfo, opened, probe
from vqlora.video.passes import packets, thumbnails
from vqlora.video.signals import signals_of

cv2: Any = import_module("cv2")  # with PySceneDetect in the extra `bench`, which not every check has
scenedetect: Any = import_module("scenedetect")

RESULT = Path(__file__).parent / "results" / "sampling.json"
WIDTH, HEIGHT, FPS = 640, 360, 25
CLIPS = [(300, seed) for seed in range(8)] + [(600, seed) for seed in range(8, 12)]
ROUNDS = 3
TOLERANCE = 2  # frames by which a found cut may lie beside the true one


def main() -> None:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clips = [(str(Path(folder) / f"{seed}.mp4"), frames, seed) for frames, seed in CLIPS]
        truth = {path: write_clip(path, frames, seed) for path, frames, seed in clips}
        infos = {path: probe(path) for path in truth}
        rows = measure(truth, infos)
    print(f"{'what':>10} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'goal':>5}  peer")
    for row in rows[:2]:
        times = f"{row['ours']:>9.2f} {row['peer']:>9.2f} {row['ratio']:>7.1f}"
        print(f"{row['what']:>10} {times} {row['goal']:>5}  {row['of']}")
    print(f"cut F1: ours {rows[2]['ours']:.3f}, {rows[2]['of']} {rows[2]['peer']:.3f}, {rows[2]['cuts']} cuts")
    names = ("av", "scenedetect", "opencv-python-headless", "numpy")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    result = {"benchmark": "sampling", "device": processor(), "versions": versions, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def measure(truth: dict[str, list[int]], infos: dict[str, VideoInfo]) -> list[dict[str, Any]]:
    """Rows for the packet stage, the signal pass, and the cuts that both detectors find."""
    best: dict[str, list[float]] = {}
    found: dict[str, dict[str, list[int]]] = {"ours": {}, "peer": {}}
    for path, info in infos.items():
        rounds: dict[str, list[float]] = {name: [] for name in ("packets", "decoding", "signals", "detector")}
        for _ in range(ROUNDS):
            rounds["packets"].append(timed(lambda: packets(path, info))[0])  # noqa: B023  # runs within the loop
            rounds["decoding"].append(timed(lambda: decode(path))[0])  # noqa: B023
            seconds, found["ours"][path] = timed(lambda: our_cuts(path, info))  # noqa: B023
            rounds["signals"].append(seconds)
            seconds, found["peer"][path] = timed(lambda: their_cuts(path))  # noqa: B023
            rounds["detector"].append(seconds)
        for name, values in rounds.items():
            best.setdefault(name, []).append(1000 * min(values))
    mean = {name: float(np.mean(values)) for name, values in best.items()}
    scores = {side: f1(truth, cuts) for side, cuts in found.items()}
    detector = "PySceneDetect AdaptiveDetector"
    return [
        _row("packets", mean["packets"], mean["decoding"], 20, "decoding every frame with PyAV"),
        _row("signals", mean["signals"], mean["detector"], 3, detector),
        {"what": "cut F1", **scores, "ratio": scores["ours"] / scores["peer"], "goal": 1, "of": detector,
         "cuts": sum(map(len, truth.values()))},
    ]  # fmt: skip


def _row(what: str, ours: float, peer: float, goal: int, of: str) -> dict[str, Any]:
    return {"what": what, "ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "of": of}


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def decode(path: str) -> int:
    with opened(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def our_cuts(path: str, info: VideoInfo) -> list[int]:
    """Packets, thumbnails, motion, entropy and cuts: the whole pass that samplers need."""
    signals = signals_of(thumbnails(path, info), info.frames, packets(path, info).sizes)
    return [int(place) for place in np.flatnonzero(signals.cuts)]


def their_cuts(path: str) -> list[int]:
    manager = scenedetect.SceneManager()
    manager.add_detector(scenedetect.AdaptiveDetector())
    manager.detect_scenes(scenedetect.open_video(path))
    return [scene[0].frame_num for scene in manager.get_scene_list()][1:]


def f1(truth: dict[str, list[int]], found: dict[str, list[int]]) -> float:
    """Over all clips; each true cut is found once, within TOLERANCE frames."""
    hits = 0
    for path, cuts in truth.items():
        free = list(found[path])
        for cut in cuts:
            near = [place for place in free if abs(place - cut) <= TOLERANCE]
            hits += bool(near)
            if near:
                free.remove(near[0])
    return 2 * hits / (sum(map(len, truth.values())) + sum(map(len, found.values())))


# ---- clips of known shots ---------------------------------------------------------------------------------------


def write_clip(path: str, frames: int, seed: int) -> list[int]:
    """One clip; the numbers of the frames at which its shots after the first begin."""
    rng = np.random.default_rng([7, seed])
    cuts = [int(place) for place in np.cumsum(rng.integers(22, 70, frames // 22)) if place < frames - 22]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        tint = rng.integers(40, 216, 3)
        for start, end in zip([0, *cuts], [*cuts, frames], strict=True):
            tint = rng.integers(40, 216, 3) if rng.random() < 0.6 else tint  # else a shot like the last in colour
            for picture in shot(rng, end - start, tint):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return cuts


def shot(rng: np.random.Generator, frames: int, tint: np.ndarray) -> list[np.ndarray]:
    """A texture around a tint, still or panned at up to 6 pixels a frame, with grain, and one thing that crosses it."""
    cells = (tint + rng.normal(0, rng.uniform(8, 45), (12, 24, 3))).clip(0, 255).astype(np.uint8)
    room = np.asarray(Image.fromarray(cells).resize((WIDTH + 440, HEIGHT + 440), Image.Resampling.BICUBIC))
    pan = rng.uniform(-6, 6, 2) * (rng.random() < 0.7)
    grain, thing, colour = rng.uniform(0, 4), int(rng.integers(30, 120)), rng.integers(0, 256, 3)
    speed, height = rng.uniform(-8, 8), int(rng.integers(0, HEIGHT - 120))
    pictures: list[np.ndarray] = []
    for number in range(frames):
        y, x = (int(220 + pan[axis] * (number - frames / 2)) % 440 for axis in (0, 1))
        picture = room[y : y + HEIGHT, x : x + WIDTH].astype(np.float32)
        left = int(WIDTH / 2 + speed * (number - frames / 2))
        picture[height : height + thing, max(0, left) : max(0, left + thing)] = colour
        pictures.append((picture + rng.normal(0, grain, picture.shape)).clip(0, 255).astype(np.uint8))
    return pictures


if __name__ == "__main__":
    main()
