"""MSVD-QA as published: the form of MSRVTT-QA; `video_id` is a number of youtube_mapping.txt, files are AVI."""

from __future__ import annotations

from pathlib import Path

from vqlora.annotations import find_file
from vqlora.data.msrvtt_qa import WANTED, open_xu
from vqlora.data.msvd import MAPPING, read_mapping
from vqlora.data.splits import Splits

OFFICIAL = {"train": 30933, "val": 6415, "test": 13157}


def open_msvd_qa(folder: Path) -> Splits:
    """Open questions about MSVD's clips."""
    wanted = f"{WANTED}, and {MAPPING}"
    names = {number: name for name, number in read_mapping(find_file(folder, MAPPING, wanted=wanted)).items()}

    def stems(number: int) -> tuple[str, ...]:
        return names.get(f"vid{number}", f"vid{number}"), f"vid{number}"

    return open_xu(folder, "msvd-qa", OFFICIAL, stems, "-4wsuPCjDBc_5_15.avi", wanted)
