"""A conversation about a clip as tokens: the pieces of its text, which are learned, which stand for frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vqlora.data.example import Message
    from vqlora.models.family import Family

CLIP = "<<clip>>"  # stands for the frames while the chat template is rendered; never reaches a tokenizer
IGNORED = -100  # the label of a token that is not learned


class Piece(NamedTuple):
    """A stretch of text, the row it belongs to, whether it is learned, and its frame (see `Family.batch`)."""

    row: int
    text: str
    learn: bool
    frame: int


def pieces_of(row: int, places: Sequence[str], rendered: Sequence[tuple[str, bool]]) -> list[Piece]:
    """A row's rendered text with the places of its frames written where the clip stands."""
    out: list[Piece] = []
    now = 0
    for text, learn in rendered:
        before, mark, after = text.partition(CLIP)
        out.append(Piece(row, before, learn, now))
        if mark:
            out += [Piece(row, place, False, number) for number, place in enumerate(places, start=1)]
            now = -1
            out.append(Piece(row, after, learn, now))
    return out


def tokenise(tokenizer: Any, pieces: Sequence[Piece]) -> list[tuple[list[int], list[int], list[int]]]:
    """Token ids, labels and frame of token of each row; each distinct text is tokenised once.

    A row begins with what the tokenizer puts before any text (a BOS token, if it has one) unless it is written there.
    """
    texts = list(dict.fromkeys(piece.text for piece in pieces))
    tokens = dict(zip(texts, tokenizer(texts, add_special_tokens=False).input_ids, strict=True))
    rows: list[tuple[list[int], list[int], list[int]]] = [([], [], []) for _ in range(pieces[-1].row + 1)]
    for piece in pieces:
        row, ids = rows[piece.row], tokens[piece.text]
        row[0].extend(ids)
        row[1].extend(ids if piece.learn else [IGNORED] * len(ids))
        row[2].extend([piece.frame] * len(ids))
    start = [token for token in tokenizer("").input_ids if token == tokenizer.bos_token_id]
    if start and start[0] not in rows[0][0]:
        rows = [(start + ids, [IGNORED, *labels], [0, *frames]) for ids, labels, frames in rows]
    return rows


def template_of(processor: Any, family: Family) -> str:
    """The checkpoint's own chat template, else the family's. ValueError where neither has one."""
    own = (processor, "chat_template"), (processor.tokenizer, "chat_template"), (family, "template")
    for holder, name in own:
        if template := getattr(holder, name, None):
            return template
    raise ValueError(
        f"this {family.name} base has no chat template and its family has no default; save one with its tokenizer"
    )


def render(
    tokenizer: Any, conversation: Sequence[Message], generate: bool, *, template: str, placeholder: str | None
) -> list[tuple[str, bool]]:
    """The chat template's text as pieces, each with whether its tokens are learned (an assistant's turn).

    placeholder: what the template writes for a video, which CLIP replaces; None: CLIP stands before plain text.
    """
    turns = [{"role": message.role, "content": _content(message.text, placeholder)} for message in conversation]
    if generate and turns and turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    video = CLIP if placeholder is None else [{"type": "video"}]
    turns[0] = {**turns[0], "content": video + turns[0]["content"]}

    def text(count: int, *, opened: bool = False) -> str:
        whole = tokenizer.apply_chat_template(
            turns[:count], chat_template=template, tokenize=False, add_generation_prompt=opened
        )
        return whole if placeholder is None else _marked(whole, placeholder)

    pieces: list[tuple[str, bool]] = []
    seen = ""
    for count, turn in enumerate(turns, start=1):
        if turn["role"] == "assistant":
            opened = text(count - 1, opened=True)
            pieces.append((opened[len(seen) :], False))
            seen = opened
        whole = text(count)
        pieces.append((whole[len(seen) :], turn["role"] == "assistant"))
        seen = whole
    if generate:
        pieces.append((text(len(turns), opened=True)[len(seen) :], False))
    return pieces


def _content(text: str, placeholder: str | None) -> Any:
    return text if placeholder is None else [{"type": "text", "text": text}]


def _marked(text: str, placeholder: str) -> str:
    if placeholder not in text:
        raise ValueError(f"the chat template writes no {placeholder!r} for a video; pass a processor with the family's")
    return text.replace(placeholder, CLIP, 1)
