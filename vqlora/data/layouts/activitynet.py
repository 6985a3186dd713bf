"""ActivityNet Captions' and ActivityNet-QA's form, with their dirt: spaces before sentences, times past the end."""

from __future__ import annotations

from pathlib import Path

from vqlora.data.activitynet_qa import TYPES
from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.shapes import Scene


def write_activitynet(folder: Path, drawn: Scenes) -> None:
    """Test clips are val_1, the first half of them also val_2; val clips are asked about only. Some files have v_."""
    ids: dict[str, list[str]] = {}
    for split, own in drawn.items():
        ids[split] = [f"{split:_<5}{place:06d}" for place in range(len(own))]
        for place, (id, scene) in enumerate(zip(ids[split], own, strict=True)):
            world.write_clip(scene, folder / "videos" / f"{'v_' if place % 2 else ''}{id}.mp4")
        asked = [
            (f"v_{id}_{number}", id, question)
            for id, scene in zip(ids[split], own, strict=True)
            for number, question in enumerate(world.asked(scene))
        ]
        world.write_json(folder / f"{split}_q.json", [
            {"video_name": video, "question": question.text.rstrip(" ?"), "question_id": id}
            for id, video, question in asked
        ])  # fmt: skip
        world.write_json(folder / f"{split}_a.json", [
            {"answer": question.answer, "type": TYPES.index(question.facts.answer), "question_id": id}
            for id, _, question in asked
        ])  # fmt: skip
    for name, split, half in (("train", "train", 1), ("val_1", "test", 1), ("val_2", "test", 2)):
        pairs = list(zip(ids[split], drawn[split], strict=True))
        told = {f"v_{id}": _annotated(scene, half) for id, scene in pairs[: -(-len(pairs) // half)]}
        world.write_json(folder / f"{name}.json", told)


def _annotated(scene: Scene, annotator: int) -> dict[str, object]:
    """The second annotator starts each event a little later. The last one's time exceeds the duration."""
    told = world.events([scene])
    times = [[start + 0.1 * (annotator - 1), end] for start, end, _ in told]
    times[-1][1] = scene.seconds + 0.25
    sentences = [text if place == 0 else f" {text}" for place, (_, _, text) in enumerate(told)]
    return {"duration": scene.seconds, "timestamps": times, "sentences": sentences}
