"""What the user says for each task, and the forms of answers with options or times.

Readers, training and evaluation ask in these words, and the embedded bases are pretrained on the very same, so that a
base knows what it is asked: whoever changes one has to pretrain anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_uppercase

CAPTION = "Describe the video."
CAPTION_ZH = "请描述这段视频。"
PARAGRAPH = "Describe the video in a paragraph."
DENSE = "Describe every event with its times ."
MOMENT = "When does the video answer this, from which second to which? "
CHOOSE = {"en": "Answer with the letter of the option.", "zh": "请用选项的字母回答。"}
SUM_UP_CLIP = "Summarise the video in one word ."  # after E5-V (arXiv:2407.12580), as `sum_up` for texts


def sum_up(text: str) -> str:
    """What the user says to have a text summed up as `SUM_UP_CLIP` sums up a clip."""
    return f"Summarise the sentence in one word : {text}"


def choice(question: str, options: Sequence[str], language: str = "en") -> str:
    """A question with options, one a line; `lettered` gives the lines, one of which answers it."""
    return "\n".join([question, *lettered(options), CHOOSE[language]])


def lettered(options: Sequence[str]) -> list[str]:
    """Options with their letters, 'A. red'."""
    return [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]


def stretch(start_seconds: float, end_seconds: float, language: str = "en") -> str:
    """From when to when, as a model is to write it: '1.2 to 4.5 s'."""
    joined = "{:.1f}到{:.1f}秒" if language == "zh" else "{:.1f} to {:.1f} s"
    return joined.format(start_seconds, end_seconds)


def event_lines(events: Iterable[tuple[float, float, str]], language: str = "en") -> str:
    """Events (start, end, sentence) as a model is to write them: a line each, '1.2 to 4.5 s : sentence'."""
    colon = "：" if language == "zh" else " : "
    return "\n".join(f"{stretch(start, end, language)}{colon}{sentence}" for start, end, sentence in events)
