"""Plain JSON values into frozen dataclasses, each field of the type that it declares: records of others are checked.

Standard library only. What a class itself checks (`__post_init__`) comes after.
"""

from __future__ import annotations

import collections.abc
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

Reader = Callable[[Any], Any]  # raises ValueError that begins with the place inside the value, as '.cost.how: ...'


def build(kind: type, plain: Any, where: str) -> Any:
    """An object of the dataclass `kind` from a JSON object. ValueError, naming field and value, if it does not fit."""
    try:
        return _reader(kind)(plain)
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{where}{text}" if text.startswith((".", ":")) else text) from error


@cache
def _reader(hint: Any) -> Reader:
    """How a value becomes what the hint says; made once for each hint, since a study may have 20,000 records."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if origin in (Union, UnionType):
        return _one_of(hint, [_reader(one) for one in inner])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(inner[1])
    if origin is tuple or (origin is not None and issubclass(origin, Sequence)):
        return _list(inner[0], tuple if origin is tuple else list)
    if is_dataclass(hint):
        return _dataclass(cast("type", hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return _plain(hint)


def _plain(kind: Any) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is kind or (kind is float and type(value) is int):
            if kind is not float or _is_finite(value):
                return value
        elif kind is type(None) and value is None:
            return None
        raise ValueError(f": expected {kind.__name__}, found {_short(value)}")

    return read


def _one_of(hint: Any, readers: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        for reader in readers:
            try:
                return reader(value)
            except ValueError:
                continue
        raise ValueError(f": expected {hint}, found {_short(value)}")

    return read


def _mapping(hint: Any) -> Reader:
    reader = _reader(hint)

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f": expected an object, found {_short(value)}")
        found = cast("dict[str, Any]", value)
        return found if hint is Any else {key: _inside(f".{key}", reader, item) for key, item in found.items()}

    return read


def _list(hint: Any, kind: Callable[[list[Any]], Any]) -> Reader:
    reader = _reader(hint)

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f": expected a list, found {_short(value)}")
        items = cast("list[Any]", value)
        return kind(items if hint is Any else [_inside(f"[{n}]", reader, item) for n, item in enumerate(items)])

    return read


def _dataclass(kind: type) -> Reader:
    # A method that a study file brings was pickled without that file's imports, so the usual names are given here.
    hints = get_type_hints(kind, localns={**vars(collections.abc), **vars(typing)})
    known = {one.name: one for one in fields(kind) if one.init}
    readers = {name: _reader(hints[name]) for name in known}
    needed = [n for n, one in known.items() if one.default is MISSING and one.default_factory is MISSING]

    def read(value: Any) -> Any:
        if isinstance(value, kind):  # built already
            return value
        if not isinstance(value, dict):
            raise ValueError(f": expected an object, found {_short(value)}")
        given = cast("dict[str, Any]", value)
        unknown, missing = [n for n in given if n not in known], [n for n in needed if n not in given]
        if unknown:
            raise ValueError(f"{kind.__name__} has no field {unknown[0]!r}; known: {sorted(known)}")
        if missing:
            raise ValueError(f": no field {missing[0]!r} of {kind.__name__}")
        return kind(**{name: _inside(f".{name}", readers[name], item) for name, item in given.items()})

    return read


def _inside(step: str, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{step}{text}" if text.startswith((".", ":", "[")) else text) from None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
