"""A contact sheet: the frames that a sampler took, in order, each with its number and time, as one picture."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

from vqlora.video.video_info import Decoded

CELL_WIDTH, LABEL_HEIGHT, GAP = 240, 16, 4  # pixels
PAPER, INK = (255, 255, 255), (40, 40, 40)


def write_sheet(path: Path, decoded: Decoded, indices: tuple[int, ...]) -> None:
    """Writes a PNG (or what the ending names) as square as the frames allow. ValueError where it cannot be written."""
    height, width = decoded.frames.shape[1:3]
    cell_height = round(CELL_WIDTH * height / width)
    columns = max(1, math.ceil(math.sqrt(len(indices) * cell_height / CELL_WIDTH)))
    rows = math.ceil(len(indices) / columns)
    step_x, step_y = CELL_WIDTH + GAP, cell_height + LABEL_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (frame, index, time) in enumerate(zip(decoded.frames, indices, decoded.times_seconds, strict=True)):
        x, y = GAP + place % columns * step_x, GAP + place // columns * step_y
        sheet.paste(Image.fromarray(frame).resize((CELL_WIDTH, cell_height)), (x, y))
        pen.text((x, y + cell_height + 2), f"{index}   {time:.3f} s", fill=INK)
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: the sheet cannot be written: {error}; name a .png in a folder that exists"
        ) from error
