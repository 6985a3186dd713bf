"""Writes the embedded data as MP4 files (H.264, AAC) in MSR-VTT's official layout, read by `msrvtt` like real data.

Layout: `videos/all/video{N}.mp4`, `train_val_videodatainfo.json`, `test_videodatainfo.json` (MSR-VTT 10K's schema, with
its keys as they are, spaces included) and, beyond it, `scenes.json` with each clip's ground truth.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from vqlora.data.shapes import FPS, PRESETS, SIDE, VERSION, Scene, draw_preset
from vqlora.data.shapes_render import draw, reel
from vqlora.data.shapes_sound import RATE_HZ, waveform
from vqlora.data.shapes_text import domain_references, truth

CRF, ENLARGED_CRF = "18", "32"  # x264's quality; enlarged pictures hold no detail that would need more
STEADY = "mbtree=0"  # x264's macroblock tree gives other bytes from run to run, even on one thread
AUDIO_BITS_PER_SECOND, AUDIO_FRAME = 32_000, 1024  # samples an AAC frame
LABELS = {"train": "train", "val": "validate", "test": "test"}


def write_shapes(preset: str, folder: Path, *, side: int = SIDE) -> None:
    """Writes one of PRESETS into an existing or new folder; ValueError for another name.

    side: of the pictures in pixels, a multiple of the native one; larger ones are native ones enlarged.
    """
    if preset not in PRESETS:
        raise ValueError(f"shapes preset {preset!r} is unknown; use one of {tuple(PRESETS)}")
    if side < SIDE or side % SIDE:
        raise ValueError(f"size {side} is no multiple of {SIDE} pixels, at which the clips are drawn")
    videos = folder / "videos" / "all"
    videos.mkdir(parents=True, exist_ok=True)
    # Numbered through the splits, as MSR-VTT's are.
    clips = list(enumerate(scene for own in draw_preset(preset).values() for scene in own))
    jobs = [(scene, str(videos / f"video{number}.mp4"), side) for number, scene in clips]
    workers = os.cpu_count() or 1
    if len(jobs) < 100 or workers == 1:
        for job in jobs:
            _write_job(job)
    else:
        # spawn: the caller may hold threads of torch or ray, which do not survive a fork
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            list(pool.map(_write_job, jobs, chunksize=16))
    _write_annotations(clips, folder)


def encode(frames: torch.Tensor, path: str, sound: np.ndarray | None = None) -> None:
    """Frames uint8 [n, 3, side, side] as H.264 (4:2:0, B-frames) in MP4, FPS frames a second; always the same bytes.

    sound: int16 samples at RATE_HZ, as an AAC track.
    """
    import av  # lazily: only writing needs an encoder

    with av.open(path, "w", options={"fflags": "+bitexact"}) as container:
        crf = CRF if frames.shape[-1] == SIDE else ENLARGED_CRF
        options = {"crf": crf, "preset": "veryfast", "threads": "1", "x264-params": STEADY}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = frames.shape[-1]
        stream.pix_fmt = "yuv420p"
        track = None if sound is None else _audio_track(container)
        for picture in frames.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            for first in range(0, len(sound), AUDIO_FRAME):
                part = sound[None, first : first + AUDIO_FRAME].astype(np.float32) / 32768
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, first, Fraction(1, RATE_HZ)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))


def _audio_track(container: Any) -> Any:
    """FFmpeg's own AAC encoder; 'fast' decides without a search, 'bitexact' leaves its version out."""
    options = {"threads": "1", "flags": "+bitexact", "aac_coder": "fast"}
    track = container.add_stream("aac", rate=RATE_HZ, layout="mono", options=options)
    track.bit_rate = AUDIO_BITS_PER_SECOND
    return track


def frames_of(scene: Scene) -> torch.Tensor:
    """All native frames of a scene, uint8 [n, 3, SIDE, SIDE]."""
    return draw(reel([scene]))[0]


def _write_job(job: tuple[Scene, str, int]) -> None:
    scene, path, side = job
    frames = frames_of(scene)
    if side != SIDE:
        frames = F.interpolate(frames.float(), size=(side, side), mode="bicubic").round().clamp(0, 255).to(torch.uint8)
    encode(frames, path, waveform(scene))


def _write_annotations(clips: list[tuple[int, Scene]], folder: Path) -> None:
    truths = {}
    files = {"train_val_videodatainfo.json": ("train", "val"), "test_videodatainfo.json": ("test",)}
    for name, splits in files.items():
        videos, sentences = [], []
        for number, scene in clips:
            if scene.split not in splits:
                continue
            video = {"id": number, "video_id": f"video{number}", "category": 0, "url": "", "start time": 0.0}
            videos.append({**video, "end time": scene.seconds, "split": LABELS[scene.split]})
            for caption in domain_references(scene):
                sentences.append({"sen_id": len(sentences), "video_id": f"video{number}", "caption": caption})
            truths[f"video{number}"] = {**truth(scene), "scene": scene.to_json()}
        info = {"year": "2026", "version": VERSION, "description": "shapes", "contributor": "", "data_created": VERSION}
        (folder / name).write_text(json.dumps({"info": info, "videos": videos, "sentences": sentences}))
    (folder / "scenes.json").write_text(json.dumps(truths))
