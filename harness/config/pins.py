"""Pins: commits, tags and versions that are written in several places and must be the same, ``[tool.harness.pins]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PIN_KEYS: dict[str, type] = {"value": str, "pattern": str, "files": list}


@dataclass(frozen=True)
class Pin:
    """What must be the same wherever it is written.

    Attributes:
        name: its name.
        value: what it must be, "" for what its first place says.
        pattern: a regular expression whose one group is the value in a line, "" for the value itself.
        files: names of files, which may have wildcards, each of which has it; () for all that are looked at, some of
            which have it.
        where: file and table, for people.
    """

    name: str
    value: str
    pattern: str
    files: tuple[str, ...]
    where: str


def read_pins(tables: Mapping[str, Any], pyproject: Path) -> tuple[Pin, ...]:
    """Return the pins of ``[tool.harness.pins]``. Raises ConfigError with everything that is wrong in it."""
    problems: list[str] = []
    pins = []
    for name, table in tables.items():
        where = f"{pyproject}: [tool.harness.pins.{name}]"
        if not isinstance(table, dict):
            problems.append(f"{where} is {type(table).__name__} {table!r}, a table was needed")
        elif wrong := _problems(table):
            problems += [f"{where}: {problem}" for problem in wrong]
        else:
            files = tuple(table.get("files", ()))
            pins.append(Pin(name, table.get("value", ""), table.get("pattern", ""), files, where))
    if problems:
        raise ConfigError.of(problems)
    return tuple(pins)


def _problems(table: Mapping[str, Any]) -> list[str]:
    wrong = []
    for key, value in table.items():
        if key not in PIN_KEYS:
            wrong.append(f"key {key!r} is not known{nearest(key, PIN_KEYS)}")
        elif not isinstance(value, PIN_KEYS[key]):
            wrong.append(f"{key} is {type(value).__name__} {value!r}, a {PIN_KEYS[key].__name__} was needed")
    if wrong:
        return wrong
    files = table.get("files", [])
    if not all(isinstance(file, str) and file for file in files):
        wrong.append(f"files has {files!r}, names of files were needed")
    if not table.get("pattern") and not (table.get("value") and table.get("files")):
        wrong.append("has neither a pattern, nor a value and files; one of them was needed")
    if table.get("pattern"):
        try:
            groups = re.compile(table["pattern"]).groups
        except re.error as error:
            wrong.append(f"pattern {table['pattern']!r} is no regular expression: {error}")
        else:
            if groups != 1:
                wrong.append(f"pattern {table['pattern']!r} has {groups} groups; one was needed, for the value")
    return wrong
