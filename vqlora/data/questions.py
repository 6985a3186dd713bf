"""What the readers of question answering sets share: an example from a question, its answer and its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqlora.data.example import Clip, Example, Message
from vqlora.data.prompts import choice, lettered


def question_example(
    id: str,
    path: str,
    question: str,
    answer: str,
    *,
    type: str | None = None,
    options: Sequence[str] = (),
    **known: Any,
) -> Example:
    """A free question, or one of choice: then options have letters, and a letter with its option is the reference."""
    asked, reference = question, answer
    if options:
        asked, reference = choice(question, options), lettered(options)[list(options).index(answer)]
    attributes = {"question": question, "answer": answer, "video": path.rpartition("/")[2], **known}
    attributes |= {"type": type} if type is not None else {}
    attributes |= {"options": list(options)} if options else {}
    return Example(
        id=id,
        clips=(Clip(path=path),),
        task="qa",
        messages=(Message(role="user", text=asked),),
        references={"en": (reference,)},
        attributes=attributes,
    )
