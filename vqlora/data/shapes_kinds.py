"""The kinds of questions about a scene: their words in English and Chinese, and how the literature's sets class them.

No question holds its answer: neither its words nor what mostly holds give it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GROUPS = ("CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO")  # why, how; next, current, previous; count, place, other
NEEDS = ("frame", "motion", "order", "audio")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of question.

    needs: the least that answers it: one 'frame', 'motion' (frames from within the event), 'order' of events, 'audio'
    (no picture tells). group: NExT-QA's, None for what it has not. answer: ActivityNet-QA's type of the answer.
    modality and aspect: MUSIC-AVQA's. words: templates by language.
    """

    needs: str
    group: str | None
    answer: str
    modality: str
    aspect: str
    words: Mapping[str, str]

    def __post_init__(self) -> None:
        assert self.needs in NEEDS and (self.group is None or self.group in GROUPS), self


_ENGLISH = {
    "colour": "What colour is the {shape} ?",
    "shape": "What shape is the {colour} one ?",
    "size": "How big is the {name} at first ?",
    "count": "How many shapes are there ?",
    "events": "How many times does a shape act ?",
    "place": "Where does the {name} start ?",
    "side": "Where is the {name} seen from the {other} at first ?",
    "motion": "What does the {name} do ?",
    "first": "Which shape acts first ?",
    "last": "Which shape acts last ?",
    "next": "What happens after the {event} ?",
    "previous": "What happens before the {event} ?",
    "at": "What happens at {time} s ?",
    "why": "Why does the {name} look different at the end ?",
    "how": "How does the {name} get to another place ?",
    "exists": "Is there a {name} ?",
    "before": "Is it so that the {event} before the {later} ?",
    "cut": "Is there a cut ?",
    "heard": "How many times do you hear a {sound} ?",
    "hear": "Do you hear a {sound} ?",
    "sound_first": "Which sound comes first , the {sound} or the {second} ?",
    "loud": "Is the {sound} loud or soft ?",
    "pitch": "Is the tone of the {name} high or low ?",
    "sound_when": "Which shape acts when the {sound} comes ?",
    "sound_where": "Where did the shape start that acts when the {sound} comes ?",
    "sound_before": "Is the {sound} heard before the {event} ?",
    "sound_count": "How many times does a shape act before the {sound} comes ?",
}
_CHINESE = {
    "colour": "{shape}是什么颜色？",
    "shape": "{colour}的是什么形状？",
    "size": "{name}开始时多大？",
    "count": "有几个形状？",
    "events": "形状动了几次？",
    "place": "{name}从哪里开始？",
    "side": "开始时{name}在{other}的哪边？",
    "motion": "{name}做什么？",
    "first": "哪个形状最先动？",
    "last": "哪个形状最后动？",
    "next": "{event}之后发生什么？",
    "previous": "{event}之前发生什么？",
    "at": "{time}秒时发生什么？",
    "why": "{name}最后为什么看起来不同？",
    "how": "{name}怎样到了别处？",
    "exists": "有{name}吗？",
    "before": "{event}早于{later}吗？",
    "cut": "画面有切换吗？",
    "heard": "听到几次{sound}？",
    "hear": "听到{sound}吗？",
    "sound_first": "{sound}和{second}哪个先响？",
    "loud": "{sound}是响亮还是轻声？",
    "pitch": "{name}的音调是高还是低？",
    "sound_when": "{sound}响时哪个形状在动？",
    "sound_where": "{sound}响时在动的形状从哪里开始？",
    "sound_before": "{sound}早于{event}吗？",
    "sound_count": "{sound}响之前形状动了几次？",
}
# needs, group, answer, modality and aspect
_SEEN = {
    "colour": ("frame", "DO", "colour", "Visual Existential"),
    "shape": ("frame", "DO", "object", "Visual Existential"),
    "size": ("frame", "DO", "other", "Visual Comparative"),
    "count": ("frame", "DC", "number", "Visual Counting"),
    "events": ("order", "DC", "number", "Visual Counting"),
    "place": ("frame", "DL", "location", "Visual Location"),
    "side": ("frame", "DL", "spatial", "Visual Location"),
    "motion": ("motion", "DO", "motion", "Visual Temporal"),
    "first": ("order", "TC", "temporal", "Visual Temporal"),
    "last": ("order", "TC", "temporal", "Visual Temporal"),
    "next": ("order", "TN", "temporal", "Visual Temporal"),
    "previous": ("order", "TP", "temporal", "Visual Temporal"),
    "at": ("motion", "TC", "temporal", "Visual Temporal"),
    "why": ("motion", "CW", "other", "Visual Temporal"),
    "how": ("motion", "CH", "motion", "Visual Temporal"),
    "exists": ("frame", None, "yes/no", "Visual Existential"),
    "before": ("order", None, "yes/no", "Visual Temporal"),
    "cut": ("frame", None, "yes/no", "Visual Existential"),
}
_HEARD = {
    "heard": ("audio", None, "number", "Audio Counting"),
    "hear": ("audio", None, "yes/no", "Audio Existential"),
    "sound_first": ("audio", None, "other", "Audio Temporal"),
    "loud": ("audio", None, "other", "Audio Comparative"),
    "pitch": ("audio", None, "other", "Audio-Visual Comparative"),
    "sound_when": ("audio", None, "object", "Audio-Visual Temporal"),
    "sound_where": ("audio", None, "location", "Audio-Visual Location"),
    "sound_before": ("audio", None, "yes/no", "Audio-Visual Existential"),
    "sound_count": ("audio", None, "number", "Audio-Visual Counting"),
}


def _kinds(table: Mapping[str, tuple[str, str | None, str, str]]) -> dict[str, Kind]:
    out = {}
    for name, (needs, group, answer, type) in table.items():
        modality, _, aspect = type.partition(" ")
        words = {"en": _ENGLISH[name], "zh": _CHINESE[name]}
        out[name] = Kind(needs=needs, group=group, answer=answer, modality=modality, aspect=aspect, words=words)
    return out


SEEN = _kinds(_SEEN)
HEARD = _kinds(_HEARD)
KINDS = {**SEEN, **HEARD}
