"""Changes to valid input, drawn by a seeded generator: of bytes, of text, and of JSON by its structure."""

from __future__ import annotations

import json
import random
from typing import Any

LONG = 100_000
TEXTS = (
    "", " ", "\n", "a\nINFO study 12/12 done", "\x1b[2K\rforged", "\x1b]0;title\x07", "\u202egpj.exe", "\ufeff", "a\0b",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "\\input{/etc/passwd}",
    "{{7*7}}", "{0.__class__}", "%s%n", "$(touch /tmp/fuzz)", "; rm -rf /", "--help", "-", ".", "..",
    "../../etc/passwd",
    "/etc/passwd", "~root/x", "~nobody-there/x", "file:///etc/passwd", "s3://other/x.mp4", "http://127.0.0.1:1/x.mp4",
    "s3://b/x?endpoint_override=127.0.0.1:1", "con", "a/b", "x" * 300, "\U0001f600", "ı", "０", "²", "nan", "1e999",
    "None", "null", "true", "0x10", "1_000", "-0", "9" * 30, "é", "e\u0301", "\u2028", "\x85", "\t", ",", '"', "'", "|",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 7, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308)
FIELDS = (0, 1, 2, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def any_value(rng: random.Random, depth: int = 3) -> Any:
    """A JSON value that nobody expects."""
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind in (3, 4):
        return rng.choice(TEXTS)
    if kind == 5:
        return rng.choice(([], {}, [[]], {"": None}, [None]))
    if kind == 6:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(TEXTS): any_value(rng, depth - 1) for _ in range(rng.randrange(4))}


def changed_json(rng: random.Random, plain: Any) -> Any:
    """One to three changes anywhere: a value replaced, left out, doubled, renamed, or exchanged with its neighbour."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        plain = _changed_once(rng, plain)
    return plain


def _changed_once(rng: random.Random, plain: Any) -> Any:
    if not isinstance(plain, dict | list) or not plain or rng.random() < 0.1:
        return any_value(rng)
    if isinstance(plain, list):
        return _changed_list(rng, list(plain))
    key = rng.choice(list(plain))
    kind, changed = rng.randrange(8), dict(plain)
    if kind == 0:
        del changed[key]
    elif kind == 1:
        changed[rng.choice(TEXTS)] = changed.pop(key)
    elif kind == 2:
        changed[rng.choice(TEXTS)] = any_value(rng)
    else:
        changed[key] = _changed_once(rng, plain[key])
    return changed


def _changed_list(rng: random.Random, items: list[Any]) -> list[Any]:
    place, kind = rng.randrange(len(items)), rng.randrange(8)
    if kind == 0:
        del items[place]
    elif kind == 1:
        items.insert(place, items[place])
    elif kind == 2:
        other = rng.randrange(len(items))
        items[place], items[other] = items[other], items[place]
    else:
        items[place] = _changed_once(rng, items[place])
    return items


def json_bytes(rng: random.Random, plain: Any) -> bytes:
    """The value as a file, now and then written as no decent program would."""
    text = json.dumps(plain, ensure_ascii=rng.random() < 0.5)
    kind = rng.randrange(80)
    if kind == 0:
        text = "[" * LONG + "]" * LONG
    elif kind == 1:
        text = '{"a":' * LONG + "1" + "}" * LONG
    elif kind == 2:
        text = text.replace("1", "9" * 5000, 1)
    elif kind == 3:
        text = text.replace("{", '{"x": 1, "x": 2, ', 1)
    elif kind == 4:
        text = text.replace("0", rng.choice(("NaN", "Infinity", "-Infinity")), 1)
    elif kind == 5:
        text = text.replace('"', '"\\ud800', 1)
    elif kind == 6:
        return text.encode("utf-16")
    elif kind == 7:
        return b"\xef\xbb\xbf" + text.encode(errors="surrogatepass")
    return text.encode(errors="surrogatepass")


def changed_bytes(rng: random.Random, raw: bytes) -> bytes:
    """Flipped, cut, doubled, overwritten, taken out or put in; one to four times."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        size = len(data)
        if not size:
            return bytes(rng.randbytes(rng.randrange(64)))
        place, length, kind = rng.randrange(size), min(rng.choice((1, 1, 2, 4, 16, 256)), size), rng.randrange(7)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            data[place : place + 4] = rng.choice(FIELDS).to_bytes(4, rng.choice(("big", "little")))
        else:
            data[place : place + length] = bytes(len(data[place : place + length]))
    return bytes(data)


def changed_text(rng: random.Random, raw: bytes) -> bytes:
    """Lines and cells of a text file changed; sometimes its bytes."""
    if rng.random() < 0.25:
        return changed_bytes(rng, raw)
    lines = raw.decode(errors="replace").split("\n")
    for _ in range(rng.randint(1, 3)):
        place, kind = rng.randrange(len(lines)), rng.randrange(5)
        mark = rng.choice(("\t", ",", " "))
        cells = lines[place].split(mark)
        if kind == 0:
            cells[rng.randrange(len(cells))] = rng.choice(TEXTS)
        elif kind == 1:
            cells.insert(rng.randrange(len(cells) + 1), rng.choice(TEXTS))
        elif kind == 2:
            del cells[rng.randrange(len(cells))]
        elif kind == 3:
            lines.insert(place, lines[rng.randrange(len(lines))])
        elif len(lines[place]) < LONG:  # else files of gigabytes, whose reading takes as much
            cells[rng.randrange(len(cells))] *= rng.choice((2, 1000))
        lines[place] = mark.join(cells)
    return "\n".join(lines).encode(errors="surrogatepass")
