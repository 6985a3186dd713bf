"""Every measured number of the two READMEs stands in a committed result, up to the rounding shown.

A paragraph, list item or table row with numbers ends in `<!-- from: FILE -->`: reports are rebuilt from records byte
for byte, and a base's parameters are counted from its file. A benchmark's JSON has the places, too, one a number or two
with a slash between for their ratio: `<!-- from: benchmarks/results/NAME.json rows[6].ratio rows[6].ms/rows[1].ms -->`.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "studies/README.md")
NUMBER = re.compile(r"(?<![\w.,])(?:\d+(?:\.\d+)?e-\d+|\d+\.\d+|\d+(?= ?%))(?![\w]|\.\d)")
NOT_MEASURED = {"3.11", "3.12", "2.60", "2.0", "5", "95"}  # versions, the licence's, a limit of skipped clips, a level


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, list items and table rows; code is no claim."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for part in re.split(r"\n\s*\n|\n(?=\||\* )", text):
        if not part.startswith("    "):
            yield part


def claims(block: str) -> list[str]:
    """The numbers in prose and cells."""
    plain = re.sub(r"`[^`]*`|<!--.*?-->|\]\([^)]*\)", " ", block, flags=re.S)
    return [one for one in NUMBER.findall(plain) if one not in NOT_MEASURED]


def known(block: str) -> list[float]:
    """What the sources that a block names hold, without signs."""
    found = (one.split() for one in re.findall(r"<!-- from: (.*?) -->", block))
    return [value for name, *places in found for value in values(ROOT / name, places)]


def values(path: Path, places: list[str]) -> list[float]:
    """The numbers at the places of a JSON file; all of a text's; a base's parameters in millions."""
    if path.suffix == ".json":
        plain = json.loads(path.read_text())
        return [
            abs(at(plain, top) / (at(plain, low) if low else 1)) for top, _, low in (p.partition("/") for p in places)
        ]
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        return [sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__") / 1e6]
    return [float(one) for one in re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", path.read_text())]


def at(plain: Any, place: str) -> float:
    """Such as rows[3].ratio."""
    for key in re.findall(r"\w+", place):
        plain = plain[int(key) if key.isdigit() else key]
    return float(plain)


def shows(text: str, value: float) -> bool:
    """Whether the text is that value, rounded."""
    mantissa, _, power = text.partition("e")
    unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    return abs(value - float(text)) <= 0.5 * unit * (1 + 1e-9)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_measured_number_stands_in_the_result_it_names(document: str) -> None:
    seen = 0
    for block in blocks((ROOT / document).read_text()):
        missing = [one for one in claims(block) if not any(shows(one, value) for value in known(block))]
        assert not missing, f"{document}: {missing} in no source that is named: {block}"
        seen += len(claims(block))
    assert seen >= 10


def test_a_number_that_was_not_measured_is_found() -> None:
    row = "| a | 5.238 <!-- from: benchmarks/results/bases.txt --> |"
    assert claims(row) == ["5.238"] and not any(shows("5.238", value) for value in known(row))
    assert any(shows("5.24", value) for value in known(row))  # of 5.237
    assert claims("falls by 17 % to -0.29 at 4e-3, `0.5` not, in Python 3.11") == ["17", "0.29", "4e-3"]
