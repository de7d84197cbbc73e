"""Random values for every field of the schema wide.fbs, in the shape in which they are decoded."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
from hypothesis import strategies as st

INTEGERS = {"i8": (8, True), "u8": (8, False), "i16": (16, True), "u16": (16, False), "i32": (32, True)}
INTEGERS |= {"u32": (32, False), "i64": (64, True), "u64": (64, False)}
KINDS = ["Sample", "Empty", "Door"]
COLOURS = ["Red", "Green", "Blue"]
KEYED = {"tags": "name", "numbered": "number", "smalls": "id"}


def integers(name: str) -> st.SearchStrategy[int]:
    """Return all integers of a type, its edges often."""
    bits, signed = INTEGERS[name]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.integers(low, high) | st.sampled_from([low, high, 0])


TEXT = st.text(max_size=8)
DOUBLE = st.floats()
FLOAT = st.floats(width=32)
KIND = st.sampled_from(KINDS)
FLAGS = st.sets(st.sampled_from(COLOURS)).map(lambda chosen: [name for name in COLOURS if name in chosen])
POINT = st.fixed_dictionaries({"x": FLOAT, "y": DOUBLE})
CELL = st.fixed_dictionaries(
    {
        "at": POINT,
        "grid": st.lists(integers("i16"), min_size=3, max_size=3),
        "corners": st.lists(POINT, min_size=2, max_size=2),
        "on": st.booleans(),
        "kind": KIND,
        "kinds": st.lists(KIND, min_size=2, max_size=2),
    }
)
SMALL = st.fixed_dictionaries({"id": integers("u8"), "weight": integers("u32")})
NOTE = st.fixed_dictionaries({"text": st.none() | TEXT, "stars": integers("i8")})
TAG = st.fixed_dictionaries({"name": TEXT, "value": integers("i64")})
NUMBERED = st.fixed_dictionaries({"number": integers("i32"), "note": st.none() | NOTE})
INNER = st.recursive(
    st.fixed_dictionaries({"label": TEXT, "next": st.none()}),
    lambda inner: st.fixed_dictionaries({"label": TEXT, "next": inner}),
    max_leaves=5,
)
THING = st.one_of(
    st.tuples(st.just("Note"), NOTE),
    st.tuples(st.just("places_Point"), POINT),
    st.tuples(st.just("text"), TEXT),
    st.tuples(st.just("Again"), NOTE),
    st.tuples(st.just("places_Cell"), CELL),
)


def several(element: st.SearchStrategy[Any], key: str = "") -> st.SearchStrategy[Any]:
    """Return absent, empty and short vectors, of unlike keys: the order of like ones is nobody's promise."""
    return st.none() | st.lists(element, max_size=4, unique_by=(lambda item: item[key]) if key else None)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    **{name: integers(name) for name in INTEGERS},
    "f32": FLOAT,
    "f64": DOUBLE,
    "maybe_flag": st.none() | st.booleans(),
    "maybe_i64": st.none() | integers("i64"),
    "maybe_f32": st.none() | FLOAT,
    "maybe_kind": st.none() | KIND,
    "kind": KIND,
    "colours": FLAGS,
    "level": st.sampled_from(["Low", "Top"]),
    "name": st.none() | TEXT,
    "must": TEXT,
    "point": st.none() | POINT,
    "cell": st.none() | CELL,
    "note": st.none() | NOTE,
    "inner": st.none() | INNER,
    "flags": several(st.booleans()),
    **{f"{name}s": several(integers(name)) for name in INTEGERS},
    "f32s": several(FLOAT),
    "f64s": several(DOUBLE),
    "kinds": several(KIND),
    "colour_list": several(FLAGS),
    "texts": several(TEXT),
    "points": several(POINT),
    "cells": several(CELL),
    "smalls": several(SMALL, KEYED["smalls"]),
    "notes": several(NOTE),
    "tags": several(TAG, KEYED["tags"]),
    "numbered": several(NUMBERED, KEYED["numbered"]),
    "packed": st.none() | NOTE,
    "aligned": several(FLOAT),
}


def _with_things(drawn: tuple[dict[str, Any], tuple[str, Any] | None, list[tuple[str, Any]] | None]) -> dict[str, Any]:
    value, thing, things = drawn
    value["thing_type"], value["thing"] = thing or ("NONE", None)
    value["things_type"] = None if things is None else [name for name, _ in things]
    value["things"] = None if things is None else [thing for _, thing in things]
    return value


ROOT = st.tuples(st.fixed_dictionaries(FIELDS), st.none() | THING, several(THING)).map(_with_things)


def plain(value: Any) -> Any:
    """Return a value with lists for arrays, keyed vectors in order, and floats as words that can be compared."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return "nan" if value != value else f"{value!r}"  # noqa: PLR0124 - only NaN differs from itself
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: sorted(plain(item), key=lambda part: _key_of(part[KEYED[name]]))
        if name in KEYED and item is not None
        else plain(item)
        for name, item in value.items()
    }


def _key_of(key: Any) -> Any:
    return key.encode() if isinstance(key, str) else key


_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|-?\binf\b|-?\bnan\b')
_WORDS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN", "-nan": "NaN"}


def from_json(text: str) -> Any:
    """Read JSON as flatc writes it: infinities and NaN have other names there."""
    return json.loads(_WORD.sub(lambda match: _WORDS.get(match[0], match[0]), text))


def to_json(value: dict[str, Any]) -> str:
    """Write a value as flatc reads it: absent fields left out, flags as words in one text."""

    def shaped(value: Any, name: str = "") -> Any:
        if name == "colours":
            return " ".join(value) or 0
        if name == "colour_list":
            return [" ".join(item) or 0 for item in value]
        if isinstance(value, dict):
            return {label: shaped(item, label) for label, item in value.items() if item is not None}
        return [shaped(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(shaped(value))
    return re.sub(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', lambda match: match[0].replace("Infinity", "inf"), text).replace(
        "NaN", "nan"
    )


def agrees(seen: Any, needed: Any, name: str = "") -> bool:
    """Return whether JSON of flatc, which rounds to 12 decimals, says what a value in ``plain`` form says."""
    if isinstance(seen, str) and name == "colours":
        seen = seen.split()
    if name in {"colours", "colour_list"} and isinstance(needed, list):
        seen = seen or []
    if isinstance(needed, dict):
        return isinstance(seen, dict) and all(agrees(seen.get(name), needed[name], name) for name in needed)
    if isinstance(needed, list):
        inner = "colours" if name == "colour_list" else ""
        return (
            isinstance(seen, list)
            and len(seen) == len(needed)
            and all(agrees(item, other, inner) for item, other in zip(seen, needed, strict=True))
        )
    if isinstance(seen, float) and isinstance(needed, str):
        number = float(needed)
        if math.isnan(number) or math.isinf(number):
            return repr(seen) == repr(number)
        return math.isclose(seen, number, rel_tol=1e-6, abs_tol=1e-6)
    return bool(seen == needed)
