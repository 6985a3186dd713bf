"""A conversation about a clip as tokens: the pieces of its text, which are learned, which stand for frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vqlora.data.example import Message

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
    """Token ids, labels and frame of token of each row; each distinct text is tokenised once."""
    texts = list(dict.fromkeys(piece.text for piece in pieces))
    tokens = dict(zip(texts, tokenizer(texts, add_special_tokens=False).input_ids, strict=True))
    rows: list[tuple[list[int], list[int], list[int]]] = [([], [], []) for _ in range(pieces[-1].row + 1)]
    for piece in pieces:
        row, ids = rows[piece.row], tokens[piece.text]
        row[0].extend(ids)
        row[1].extend(ids if piece.learn else [IGNORED] * len(ids))
        row[2].extend([piece.frame] * len(ids))
    return rows


def render(tokenizer: Any, conversation: Sequence[Message], generate: bool) -> list[tuple[str, bool]]:
    """The chat template's text as pieces, each with whether its tokens are learned (an assistant's turn)."""
    turns = [{"role": message.role, "content": message.text} for message in conversation]
    if generate and turns and turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    turns[0] = {**turns[0], "content": CLIP + turns[0]["content"]}
    pieces: list[tuple[str, bool]] = []
    seen = ""
    for count, turn in enumerate(turns, start=1):
        if turn["role"] == "assistant":
            opened = tokenizer.apply_chat_template(turns[: count - 1], tokenize=False, add_generation_prompt=True)
            pieces.append((opened[len(seen) :], False))
            seen = opened
        whole = tokenizer.apply_chat_template(turns[:count], tokenize=False)
        pieces.append((whole[len(seen) :], turn["role"] == "assistant"))
        seen = whole
    if generate:
        opened = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        pieces.append((opened[len(seen) :], False))
    return pieces
