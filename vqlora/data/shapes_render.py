"""Draws scenes: states of things to RGB frames, with torch, the same code on a CPU and a GPU.

`shapes` says where things are. Frames for MP4 files and frames for pretraining come from here; the latter pass
`subsample_chroma`, which does to them what a 4:2:0 video file does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqlora.data.shapes import COLOURS, FPS, SHAPES, SIDE, Scene
from vqlora.data.shapes_motion import states

RGB = {
    "red": (225, 45, 45), "green": (40, 190, 70), "blue": (60, 100, 240), "yellow": (240, 220, 50),
    "purple": (165, 60, 200), "orange": (245, 140, 30), "cyan": (50, 210, 220), "white": (240, 240, 240),
}  # fmt: skip
ATLAS_SIDE, ATLAS_REACH = 48, 1.25  # pixels of a mask; half widths of the thing it spans from its centre
NOISE_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class Reel:
    """Frames of scenes as tensors, ready to draw. B scenes, N frames of each, T things, 2 shots.

    states [B, N, T, 5]; shape, colour [B, T]; shot [B, N] in {0, 1}; number [B, N], the frames' own numbers;
    backdrop [B, 2, 10].
    """

    states: Tensor
    shape: Tensor
    colour: Tensor
    shot: Tensor
    number: Tensor
    backdrop: Tensor

    def to(self, device: str | torch.device) -> Reel:
        return Reel(**{name: value.to(device) for name, value in vars(self).items()})


def reel(scenes: Sequence[Scene], indices: np.ndarray | None = None) -> Reel:
    """The frames `indices` [B, N] of the scenes; without, all native ones, padded with the last. On the CPU.

    Things that a scene lacks are invisible.
    """
    if indices is None:
        longest = max(scene.num_frames for scene in scenes)
        indices = np.stack([np.minimum(np.arange(longest), scene.num_frames - 1) for scene in scenes])
    most = max(len(scene.things) for scene in scenes)
    state = np.zeros((*indices.shape, most, 5), np.float32)
    state[..., 2] = 1.0
    shape = np.zeros((len(scenes), most), np.int64)
    colour = np.zeros((len(scenes), most), np.int64)
    shot = np.zeros(indices.shape, np.int64)
    backdrop = np.zeros((len(scenes), 2, 10), np.float32)
    for b, scene in enumerate(scenes):
        state[b, :, : len(scene.things)] = states(scene)[indices[b]]
        for i, thing in enumerate(scene.things):
            shape[b, i], colour[b, i] = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
        if scene.cut is not None:
            shot[b] = indices[b] >= round(scene.cut * FPS)
        for s, drop in enumerate(scene.backdrops):
            direction = (np.cos(drop.angle), np.sin(drop.angle))
            backdrop[b, s] = (*drop.first, *drop.second, *direction, drop.grain, drop.flickers)
    parts = {"states": state, "shape": shape, "colour": colour, "shot": shot, "number": indices, "backdrop": backdrop}
    return Reel(**{name: torch.from_numpy(part) for name, part in parts.items()})


def draw(reel: Reel) -> Tensor:
    """The frames of a reel, uint8 [B, N, 3, SIDE, SIDE]."""
    device, count = reel.states.device, reel.number.shape[1]
    across = torch.arange(SIDE, device=device, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(across, across, indexing="ij")
    canvas = _backdrops(reel, x, y)
    atlas, rgb = _atlas().to(device), _rgb().to(device)
    for i in range(reel.states.shape[2]):
        cx, cy, half, angle, visible = (part[..., None, None] for part in reel.states[..., i, :].unbind(-1))
        cos, sin = torch.cos(angle), torch.sin(angle)
        dx, dy = (x - cx) / (half * ATLAS_REACH), (y - cy) / (half * ATLAS_REACH)
        grid = torch.stack([dx * cos + dy * sin, dy * cos - dx * sin], dim=-1)  # [B, N, SIDE, SIDE, 2]
        masks = atlas[reel.shape[:, i]][:, None].expand(-1, count, -1, -1).flatten(0, 1)
        alpha = F.grid_sample(masks[:, None], grid.flatten(0, 1), align_corners=False)
        alpha = alpha.unflatten(0, reel.number.shape) * visible[..., None]
        paint = rgb[reel.colour[:, i]][:, None, :, None, None]
        canvas = torch.lerp(canvas, paint, alpha)
    return canvas.round_().clamp_(0, 255).to(torch.uint8)


def _backdrops(reel: Reel, x: Tensor, y: Tensor) -> Tensor:
    drop = torch.take_along_dim(reel.backdrop, reel.shot[..., None], dim=1)  # [B, N, 10]
    first, second = drop[..., 0:3, None, None], drop[..., 3:6, None, None]
    along = (x - SIDE / 2) * drop[..., 6, None, None] + (y - SIDE / 2) * drop[..., 7, None, None]
    share = (along / SIDE + 0.5).clamp(0, 1)[..., None, :, :]
    # Flickering grain is another window of one fixed noise picture in each frame.
    number, span = reel.number * drop[..., 9].long(), torch.arange(SIDE, device=x.device)
    down = (number * 37 % (NOISE_SIDE - SIDE))[..., None] + span
    right = (number * 61 % (NOISE_SIDE - SIDE))[..., None] + span
    noise = _noise().to(x.device)[down[..., :, None], right[..., None, :]]
    return first + (second - first) * share + (noise * drop[..., 8, None, None])[..., None, :, :]


def subsample_chroma(frames: Tensor) -> Tensor:
    """What 4:2:0 storage does to RGB frames [..., 3, h, w]: chroma averaged over 2 x 2 pixels (BT.601), uint8."""
    flat = frames.reshape(-1, 3, *frames.shape[-2:]).float()
    red, green, blue = flat.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], dim=1)
    chroma = F.interpolate(F.avg_pool2d(chroma, 2), scale_factor=2, mode="nearest")
    cb, cr = chroma.unbind(1)
    rgb = torch.stack([luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb], dim=1)
    return rgb.round().clamp(0, 255).to(torch.uint8).view(frames.shape)


def _rgb() -> Tensor:
    return torch.tensor([RGB[colour] for colour in COLOURS], dtype=torch.float32)


_cache: dict[str, Tensor] = {}


def _noise() -> Tensor:
    if "noise" not in _cache:
        grain = np.random.default_rng(7).standard_normal((NOISE_SIDE, NOISE_SIDE)).astype(np.float32)
        _cache["noise"] = torch.from_numpy(grain)
    return _cache["noise"]


def _atlas() -> Tensor:
    """Masks of all shapes, float [shapes, ATLAS_SIDE, ATLAS_SIDE] in 0..1, averaged over 4 x 4 samples."""
    if "atlas" not in _cache:
        side = 4 * ATLAS_SIDE
        line = (np.arange(side) + 0.5) / side * 2 * ATLAS_REACH - ATLAS_REACH
        x, y = np.meshgrid(line, line)
        masks = np.stack([_inside(shape, x, y) for shape in SHAPES]).astype(np.float32)
        fine = masks.reshape(len(SHAPES), ATLAS_SIDE, 4, ATLAS_SIDE, 4).mean((2, 4))
        _cache["atlas"] = torch.from_numpy(fine)
    return _cache["atlas"]


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in a shape of half width 1 round the origin; y points down."""
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    if shape == "circle":
        return radius < 1
    if shape == "square":
        return np.maximum(abs(x), abs(y)) < 0.88
    if shape == "triangle":
        return (y < 0.8) & (y > -1 + 1.8 * abs(x) / 1.05)
    if shape == "star":
        fifth = np.abs((angle % (2 * np.pi / 5)) - np.pi / 5) / (np.pi / 5)  # 1 at a tip, 0 between two
        return radius < 0.45 + 0.75 * fifth**1.5
    if shape == "cross":
        return (np.minimum(abs(x), abs(y)) < 0.32) & (np.maximum(abs(x), abs(y)) < 1)
    if shape == "ring":
        return (radius < 1.05) & (radius > 0.6)
    if shape == "bar":
        return (abs(x) < 1.15) & (abs(y) < 0.38)
    if shape == "moon":
        return (radius < 1.05) & (np.hypot(x - 0.5, y + 0.1) > 0.8)
    raise AssertionError(f"shape {shape!r} is not drawn")
