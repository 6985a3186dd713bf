"""The forms of NExT-QA (options, and free answers) and MUSIC-AVQA (its spellings and templates)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.nextqa import COLUMNS, OPTIONS

KINDS = {"number": "DC", "colour": "DO", "temporal": "TN"}


def write_nextqa(folder: Path, counts: Mapping[str, int]) -> None:
    """Questions with options; videos in folders, by the names of the map."""
    _write_nextqa(folder, counts, with_options=True)


def write_nextqa_open(folder: Path, counts: Mapping[str, int]) -> None:
    """Questions with free answers, and second answers of test."""
    _write_nextqa(folder, counts, with_options=False)


def _write_nextqa(folder: Path, counts: Mapping[str, int], with_options: bool) -> None:
    names, second, number = {}, {}, 0
    for split, own in world.scenes(counts).items():
        rows = []
        for scene in own:
            video, number = str(2000000000 + number), number + 1
            names[video] = f"{number % 2:04d}/{video[::-1]}"
            world.write_clip(scene, folder / "NExTVideo" / f"{names[video]}.mp4")
            second[video] = {"0": f"about {world.questions(scene)[0][1]}"} if split == "test" else {}
            for qid, (question, answer, kind) in enumerate(world.questions(scene)):
                options = world.choices(answer, kind)
                shape = [video, scene.num_frames, 112, 112, question.rstrip("?")]
                told = (
                    [options.index(answer), qid, KINDS[kind], *options] if with_options else [answer, qid, KINDS[kind]]
                )
                rows.append([*shape, *told])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[*COLUMNS, *(OPTIONS if with_options else ())], *rows])
    world.write_json(folder / "map_vid_vidorID.json", names)
    if not with_options:
        world.write_json(folder / "add_reference_answer_test.json", second)


def write_music_avqa(folder: Path, counts: Mapping[str, int]) -> None:
    """Questions with blanks, one of them deleted; every split asks about the first video too."""
    number = 0
    for split, own in world.scenes(counts).items():
        rows = []
        for scene in own:
            video, number = f"{number:08d}", number + 1
            world.write_clip(scene, folder / "videos" / f"{video}.mp4")
            for id, (question, answer, kind) in enumerate(world.questions(scene)):
                rows.append(_music_row(video, 10 * number + id, question, answer, kind))
        rows.append({**_music_row("00000000", 90 + number, "is it loud?", "no", "temporal"), "question_deleted": 1})
        rows.append(_music_row("00000000", 900000 + number, "are there units?", "yes", "temporal"))
        world.write_json(folder / f"avqa-{split}.json", rows)


def _music_row(video: str, id: int, question: str, answer: str, kind: str) -> dict[str, object]:
    blank, values = (question.replace("units", "<Object>s"), ["unit"]) if "units" in question else (question, [])
    return {
        "video_id": video,
        "question_id": id,
        "type": json.dumps(["Audio-Visual", kind.title()]),
        "question_content": blank,
        "templ_values": json.dumps(values),
        "question_deleted": 0,
        "anser": answer,
    }
