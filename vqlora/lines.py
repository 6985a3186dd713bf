"""Text from outside (captions, file names, messages of decoders) on one line of a terminal or a log.

Whatever would end the line, move the cursor or turn the direction of writing is escaped, so no text can forge a line.
"""

from __future__ import annotations

JOINERS = "\u200c\u200d"  # letters of Persian and Hindi, and emoji, are joined by them; they show nothing themselves


def one_line(text: object) -> str:
    """The text with everything that is not printed escaped as Python writes it: 'a\\nb', '\\x1b[2K', '\\u202e'."""
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(
        sign if sign.isprintable() or sign in JOINERS else sign.encode("unicode_escape").decode() for sign in plain
    )
