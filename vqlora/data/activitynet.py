"""ActivityNet Captions as published: train.json, val_1.json and val_2.json, each {"v_...": {"timestamps", ...}}.

Three tasks of one set. Paragraphs: all sentences of a video as one caption, both validation annotations as references.
Dense: sentences with their times. Retrieval: a paragraph is the query, 4917 pairs of val_1. Video files carry their id
with or without `v_`. If `split_ids_anet_entities.json` is there, paragraphs use its halves of val (ae-val, ae-test) for
validation and test; else test is val_1 and a hold-out of train validates.
Dirt that is read and counted: spaces around sentences, times beyond the duration, empty or backwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from vqlora.annotations import Row, find_file, read_json
from vqlora.data.example import Clip, Example, Message
from vqlora.data.prompts import DENSE, PARAGRAPH, event_lines
from vqlora.data.splits import Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 10009, "test": 4917}
OFFICIAL_ENTITIES = {"train": 10009, "val": 2459, "test": 2457}
ENTITIES = "split_ids_anet_entities.json"
WANTED = "train.json, val_1.json and val_2.json of ActivityNet Captions, and the videos"


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """One annotation of a video: its sentences and their [start, end] in seconds."""

    duration_seconds: float
    sentences: tuple[str, ...]
    times_seconds: tuple[tuple[float, float], ...]

    @property
    def paragraph(self) -> str:
        return " ".join(self.sentences)


def open_activitynet(folder: Path) -> Splits:
    """Paragraph captioning."""
    read = _Read(folder)
    examples, official = read.by_split(), OFFICIAL
    entities = folder / ENTITIES
    if entities.is_file():
        listed = read_json(entities)
        by_id = {example.id: example for example in examples["test"]}
        for split, key in (("val", "validation"), ("test", "testing")):
            examples[split] = [by_id[id] for id in listed.at(key).texts() if id in by_id]
        official = OFFICIAL_ENTITIES
    return make_splits("activitynet", examples, official=official, dirt=read.dirt)


def open_activitynet_dense(folder: Path) -> Splits:
    """Dense captioning; `attributes['events']` holds both annotations as densevid_eval wants them."""
    read = _Read(folder)
    examples = {split: [_dense(example) for example in own] for split, own in read.by_split().items()}
    return make_splits("activitynet-dense", examples, official=OFFICIAL, dirt=read.dirt)


def open_activitynet_retrieval(folder: Path) -> Splits:
    """Paragraph-video retrieval; a video's one query is its val_1 paragraph."""
    read = _Read(folder)
    examples = {
        split: [
            replace(
                example,
                task="retrieval",
                messages=(),
                references={"en": example.references["en"][:1]},
                attributes={**example.attributes, "query": example.references["en"][0]},
            )
            for example in own
        ]
        for split, own in read.by_split().items()
    }
    return make_splits("activitynet-retrieval", examples, official=OFFICIAL, dirt=read.dirt)


class _Read:
    """The three files and the videos."""

    def __init__(self, folder: Path) -> None:
        self.dirt: Counter[str] = Counter()
        files = [
            find_file(folder, name, f"captions/{name}", wanted=WANTED)
            for name in ("train.json", "val_1.json", "val_2.json")
        ]
        self.train, self.first, self.second = (
            {id: self._annotated(row) for id, row in read_json(file).entries()} for file in files
        )
        self.videos = VideoFiles(folder)
        self.videos.require_one_of(
            [*self.train, *self.first, *map(_bare, [*self.train, *self.first])], example="v_ID.mp4"
        )

    def by_split(self) -> dict[str, list[Example]]:
        train = [self._example(id, [own]) for id, own in self.train.items()]
        test = [
            self._example(id, [own, *([self.second[id]] if id in self.second else [])])
            for id, own in self.first.items()
        ]
        self.dirt["val_2_without_val_1"] = sum(id not in self.first for id in self.second)
        return {"train": train, "test": test}

    def _example(self, id: str, annotations: list[Annotated]) -> Example:
        path = self.videos.path(id, _bare(id), expected=f"videos/{_bare(id)}.mp4")
        return Example(
            id=id,
            clips=(Clip(path=path),),
            task="paragraph",
            messages=(Message(role="user", text=PARAGRAPH),),
            references={"en": tuple(one.paragraph for one in annotations)},
            attributes={
                "events": [
                    {
                        "duration": one.duration_seconds,
                        "timestamps": [list(pair) for pair in one.times_seconds],
                        "sentences": list(one.sentences),
                    }
                    for one in annotations
                ]
            },
        )

    def _annotated(self, row: Row) -> Annotated:
        duration, sentences = row.at("duration").number(), row.at("sentences").texts()
        times = [pair.stretch() for pair in row.at("timestamps").rows()]
        if len(times) != len(sentences) or not sentences:
            raise row.fail(f"{len(times)} timestamps for {len(sentences)} sentences; expected one for each")
        self.dirt["spaces_around_sentences"] += sum(text != text.strip() for text in sentences)
        self.dirt["odd_times"] += sum(end > duration or end <= start for start, end in times)
        self.dirt["empty_sentences"] += sum(not text.strip() for text in sentences)
        return Annotated(
            duration_seconds=duration,
            sentences=tuple(text.strip() for text in sentences),
            times_seconds=tuple(times),
        )


def _dense(example: Example) -> Example:
    texts = [
        event_lines((*times, sentence) for times, sentence in zip(one["timestamps"], one["sentences"], strict=True))
        for one in example.attributes["events"]
    ]
    asked = (Message(role="user", text=DENSE),)
    return replace(example, task="dense", messages=asked, references={"en": tuple(texts)})


def _bare(id: str) -> str:
    return id.removeprefix("v_")
