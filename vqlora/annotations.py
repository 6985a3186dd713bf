"""Annotation and result files: JSON, JSON lines, CSV. Errors name file, line or key, and what was expected.

Data sets (`vqlora.data`) and the scorers' files (`vqlora.metrics.files`) are read through it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqlora.lines import one_line


@dataclass(frozen=True)
class Row:
    """One value of a file and where it stands; every getter raises ValueError naming file, place and key."""

    file: Path
    place: str
    plain: Any

    def fail(self, message: str) -> ValueError:
        """The error to raise about this place."""
        where = f"{self.file}: {self.place}" if self.place else str(self.file)
        return ValueError(one_line(f"{where}: {message}"))

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.plain, dict):
            raise self.fail(f"expected an object, found {_short(self.plain)}")
        return self.plain

    def has(self, key: str) -> bool:
        return self.mapping().get(key) is not None

    def at(self, key: str) -> Row:
        """The value of a key, which must be there."""
        found = self.mapping()
        if key not in found:
            raise self.fail(f"no key {key!r}; there are {_short(sorted(found))}")
        return Row(self.file, f"{self.place}.{key}" if self.place else key, found[key])

    def entries(self) -> Iterator[tuple[str, Row]]:
        """Keys and values of an object."""
        for key, value in self.mapping().items():
            Row(self.file, self.place, key).text()
            yield key, Row(self.file, f"{self.place}.{key}" if self.place else key, value)

    def rows(self) -> list[Row]:
        """The items of a list."""
        if not isinstance(self.plain, list):
            raise self.fail(f"expected a list, found {_short(self.plain)}")
        return [Row(self.file, f"{self.place}[{number}]", item) for number, item in enumerate(self.plain)]

    def text(self) -> str:
        if not isinstance(self.plain, str):
            raise self.fail(f"expected a text, found {_short(self.plain)}")
        if any("\ud800" <= character <= "\udfff" for character in self.plain):
            raise self.fail("half of a surrogate pair, which is no text; write the character whole")
        return self.plain

    def texts(self) -> list[str]:
        return [row.text() for row in self.rows()]

    def name(self) -> str:
        """An id: a text, or a whole number as its digits."""
        if type(self.plain) is int:
            return str(self.plain)
        if not self.text():
            raise self.fail("an id is empty")
        return self.text()

    def number(self) -> float:
        if isinstance(self.plain, bool) or not isinstance(self.plain, int | float) or not _is_finite(self.plain):
            raise self.fail(f"expected a number, found {_short(self.plain)}")
        return float(self.plain)

    def whole(self) -> int:
        if type(self.plain) is not int:
            raise self.fail(f"expected a whole number, found {_short(self.plain)}")
        return self.plain

    def stretch(self) -> tuple[float, float]:
        """[start, end] in seconds, in any order and of any length: sets have both kinds of dirt."""
        pair = self.rows()
        if len(pair) != 2:
            raise self.fail(f"expected [start, end], found {len(pair)} values")
        return pair[0].number(), pair[1].number()


def read_text(file: Path) -> str:
    """A UTF-8 file, with or without a byte order mark. ValueError with the number of lines that are not UTF-8."""
    if not file.is_file():  # reading a pipe or a device would never end
        raise ValueError(f"{file}: no such file")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = [number for number, line in enumerate(raw.split(b"\n"), start=1) if not _is_utf8(line)]
        raise ValueError(
            f"{file}: not UTF-8 at byte {error.start}; lines concerned: {len(lines)}, the first is line {lines[0]}; "
            "copy or download the file again"
        ) from error


def read_json(file: Path) -> Row:
    """The whole of a JSON file. A key that stands twice in one object is refused: one of its values would vanish."""
    return Row(file, "", _parsed(file, read_text(file), ""))


def read_json_lines(file: Path) -> list[Row]:
    """A value per line; empty lines are skipped."""
    lines = read_text(file).split("\n")
    rows = [
        Row(file, f"line {number}", _parsed(file, line, f"line {number}: "))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not rows:
        raise ValueError(f"{file}: holds no line")
    return rows


def read_csv(file: Path, columns: Sequence[str], *, delimiter: str = ",", optional: Iterable[str] = ()) -> list[Row]:
    """Rows of a CSV file with a header, values as texts. Columns must be in the header and filled, unless optional."""
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), delimiter=delimiter)
    may_be_empty, rows = set(optional), []
    try:
        header = reader.fieldnames or []
        absent = [column for column in columns if column not in header]
        if absent or len(set(header)) < len(header):
            problem = f"no column {absent[0]!r}" if absent else "a column stands twice"
            raise ValueError(f"{file}: line 1: {problem}; expected {','.join(columns)}, found {','.join(header)}")
        for plain in reader:
            row = Row(file, f"line {reader.line_num}", plain)
            if None in plain:
                raise row.fail(f"more values than the {len(header)} columns; put quotes around a comma")
            empty = [column for column in columns if column not in may_be_empty and not plain[column]]
            if empty:
                raise row.fail(f"no {empty[0]!r}; expected the columns {','.join(columns)}")
            rows.append(Row(file, row.place, {key: value or "" for key, value in plain.items()}))
    except csv.Error as error:
        raise ValueError(f"{file}: line {reader.line_num}: {error}") from error
    return rows


def read_lines(file: Path) -> list[Row]:
    """The lines of a text file, without their ends; empty ones are skipped."""
    lines = read_text(file).replace("\r\n", "\n").split("\n")
    return [Row(file, f"line {number}", line) for number, line in enumerate(lines, start=1) if line.strip()]


def find_file(folder: Path, *names: str, wanted: str) -> Path:
    """The first of these files, relative to the folder, that is there; `wanted` says what a folder should hold."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give the folder that holds {wanted}")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder / names[0]}: no such file; a folder of this set holds {wanted}")


def _parsed(file: Path, text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = place or f"line {error.lineno}: "
        raise ValueError(f"{file}: {where}not JSON ({error.msg}); copy or download the file again") from error
    except RecursionError as error:
        raise ValueError(f"{file}: {place}nested too deeply to be annotations") from error
    except ValueError as error:
        raise ValueError(f"{file}: {place}{error}") from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twins = [key for key in found if keys.count(key) > 1] if len(keys) < 1000 else _twins(keys)
        raise ValueError(f"{len(keys) - len(found)} keys stand twice in one object, the first is {twins[0]!r}")
    return found


def _twins(keys: list[str]) -> list[str]:
    seen: set[str] = set()
    return [key for key in keys if key in seen or seen.add(key)]


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number that JSON knows")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
