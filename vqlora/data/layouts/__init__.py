"""The embedded clips in the official form of every set that has a reader: containers, names, keys and known dirt.

LAYOUTS names a writer for each set of `vqlora.data.sets.READERS`: (folder, {split: scenes}) -> None.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vqlora.data.layouts.activitynet import write_activitynet
from vqlora.data.layouts.conversations import write_llava, write_messages, write_sharegpt
from vqlora.data.layouts.ego4d import write_ego4d
from vqlora.data.layouts.howto100m import write_howto100m
from vqlora.data.layouts.lsmdc import write_lsmdc
from vqlora.data.layouts.msrvtt import write_msrvtt
from vqlora.data.layouts.msvd import write_msvd
from vqlora.data.layouts.questions import write_music_avqa, write_nextqa, write_nextqa_open
from vqlora.data.layouts.tables import write_frames, write_table
from vqlora.data.layouts.vatex import write_vatex
from vqlora.data.layouts.world import Scenes

Layout = Callable[[Path, Scenes], None]
LAYOUTS: dict[str, Layout] = {
    "msrvtt": write_msrvtt,
    "msrvtt-1ka": write_msrvtt,
    "msrvtt-1ka-7k": write_msrvtt,
    "msrvtt-qa": write_msrvtt,
    "activitynet": write_activitynet,
    "activitynet-dense": write_activitynet,
    "activitynet-retrieval": write_activitynet,
    "activitynet-qa": write_activitynet,
    "vatex": write_vatex,
    "vatex-zh": write_vatex,
    "vatex-retrieval": write_vatex,
    "msvd": write_msvd,
    "msvd-retrieval": write_msvd,
    "msvd-qa": write_msvd,
    "lsmdc": write_lsmdc,
    "nextqa": write_nextqa,
    "nextqa-open": write_nextqa_open,
    "music-avqa": write_music_avqa,
    "ego4d": write_ego4d,
    "ego4d-nlq": write_ego4d,
    "howto100m": write_howto100m,
    "llava": write_llava,
    "messages": write_messages,
    "sharegpt": write_sharegpt,
    "frames": write_frames,
    "table": write_table,
}
FILES = {"sharegpt": "all.json", "table": "table.json"}  # the sets that are opened by a file


def main_file(name: str, folder: Path) -> Path:
    """What to give the reader of a set that was written into this folder."""
    return folder / FILES[name] if name in FILES else folder
