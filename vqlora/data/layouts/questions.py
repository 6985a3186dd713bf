"""The forms of NExT-QA (options, and free answers) and MUSIC-AVQA (its spellings and templates)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.nextqa import COLUMNS, OPTIONS
from vqlora.data.shapes import SIDE
from vqlora.data.shapes_words import DOMAIN

VISUAL = ("Counting", "Location")  # what MUSIC-AVQA asks of the picture alone


def write_nextqa(folder: Path, drawn: Scenes) -> None:
    """Questions with options; videos in folders, by the names of the map."""
    _write_nextqa(folder, drawn, with_options=True)


def write_nextqa_open(folder: Path, drawn: Scenes) -> None:
    """Questions with free answers, and second answers of test."""
    _write_nextqa(folder, drawn, with_options=False)


def _write_nextqa(folder: Path, drawn: Scenes, with_options: bool) -> None:
    names, second, number = {}, {}, 0
    for split, own in drawn.items():
        rows = []
        for scene in own:
            video, number = str(2000000000 + number), number + 1
            names[video] = f"{number % 2:04d}/{video[::-1]}"
            world.write_clip(scene, folder / "NExTVideo" / f"{names[video]}.mp4")
            found = [question for question in world.asked(scene) if question.facts.group]
            second[video] = {"0": f"about {found[0].answer}"} if split == "test" else {}
            for qid, one in enumerate(found):
                shape = [video, scene.num_frames, SIDE, SIDE, one.text.rstrip(" ?")]
                if not with_options:
                    rows.append([*shape, one.answer, qid, one.facts.group])
                elif len(one.options) == len(OPTIONS):
                    rows.append([*shape, one.options.index(one.answer), qid, one.facts.group, *one.options])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[*COLUMNS, *(OPTIONS if with_options else ())], *rows])
    world.write_json(folder / "map_vid_vidorID.json", names)
    if not with_options:
        world.write_json(folder / "add_reference_answer_test.json", second)


def write_music_avqa(folder: Path, drawn: Scenes) -> None:
    """Questions with blanks, one of them deleted; every split asks about the first video too."""
    number = 0
    for split, own in drawn.items():
        rows = []
        for scene in own:
            video, number = f"{number:08d}", number + 1
            world.write_clip(scene, folder / "videos" / f"{video}.mp4")
            seen = [one for one in world.asked(scene) if one.facts.aspect in VISUAL]
            for id, one in enumerate([*world.asked(scene, heard=True), *seen]):
                kind = [one.facts.modality, one.facts.aspect]
                rows.append(_music_row(video, 100 * number + id, one.text, one.answer, kind))
        shared = _music_row("00000000", 10**6 + number, "Is there a tone ?", "yes", ["Audio", "Existential"])
        rows += [shared, {**shared, "question_id": 2 * 10**6 + number, "question_deleted": 1}]
        world.write_json(folder / f"avqa-{split}.json", rows)


def _music_row(video: str, id: int, question: str, answer: str, kind: list[str]) -> dict[str, object]:
    """The first sound that the question names becomes a blank."""
    values = [word for word in DOMAIN.sounds.values() if f" {word} " in question][:1]
    blank = question.replace(values[0], "<Object>", 1) if values else question
    return {
        "video_id": video,
        "question_id": id,
        "type": json.dumps(kind),
        "question_content": blank,
        "templ_values": json.dumps(values),
        "question_deleted": 0,
        "anser": answer,
    }
