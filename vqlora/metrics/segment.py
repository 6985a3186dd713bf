"""How a caption is cut into words before it is scored. A score means nothing without the name of this choice.

English: `ptb`. Chinese: `char` (every character that is not white space, the convention of VATEX) or `jieba` (words,
the convention of AI Challenger; extra `zh`): on the same captions CIDEr-D differs by two fifths between the two.
`words` takes text that is tokenised already, words between single spaces.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec

from vqlora.metrics import ptb


def segmenter(name: str) -> Callable[[str], str]:
    """The function from a caption to its words joined by spaces."""
    if name not in _SEGMENTERS:
        raise ValueError(f"segment {name!r} is unknown; use one of {tuple(_SEGMENTERS)}")
    if name == "jieba" and find_spec("jieba") is None:
        raise ValueError("segment 'jieba' needs the package jieba: pip install 'vqlora[zh]', or use segment 'char'")
    return _SEGMENTERS[name]


def _characters(caption: str) -> str:
    return " ".join(character for character in caption.lower() if not character.isspace())


def _jieba(caption: str) -> str:
    jieba = import_module("jieba")  # an extra, and slow to load

    return " ".join(word for word in map(str.strip, jieba.cut(caption.lower())) if word)


_SEGMENTERS: Mapping[str, Callable[[str], str]] = {
    "ptb": ptb.tokenize,
    "char": _characters,
    "jieba": _jieba,
    "words": str,
}
