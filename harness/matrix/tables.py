"""A table of a file, read key by key: every mistake is noted in words, and reading goes on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import nearest
from harness.matrix.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_T = TypeVar("_T")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SHOWN = 60


def shown(value: object) -> str:
    """Return a value as a sentence has it: on one line, not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def parse_size(value: object) -> int:
    """Return bytes for a number of them or a text such as ``256MiB`` or ``1g``; all units are powers of 1024.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a size such as 256MiB or 1g was needed")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def twice(again: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Return what makes objects of JSON (``object_pairs_hook``), and adds names that one of them has twice."""

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                again.append(name)
            found[name] = value
        return found

    return made


class Table:
    """A table of a file.

    Args:
        where: file and table, for people.
        data: what is in it.
        problems: what is wrong is added here.
        known: its keys; () where unknown ones are no mistake.
    """

    def __init__(self, where: str, data: Mapping[str, Any], problems: list[str], known: Collection[str] = ()) -> None:
        self.where, self.data, self.problems = where, data, problems
        for key in data:
            if known and key not in known:
                self.wrong(f"key {key!r} is not known{nearest(key, known)}")

    def wrong(self, sentence: str) -> None:
        """Note a mistake."""
        self.problems.append(f"{self.where}: {sentence}")

    def unlike(self, key: str, needed: str) -> None:
        """Note that the value of a key is not what was needed."""
        self.wrong(f"{key} is {shown(self.data[key])}, {needed} was needed")

    def has(self, key: str) -> bool:
        """Return whether a key is there, with a value that is not null."""
        return self.data.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        """Return a text."""
        return self._of(key, str, "a text", default)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a truth."""
        return self._of(key, bool, "true or false", default)

    def count(self, key: str, default: int = 0) -> int:
        """Return a whole number, not negative."""
        value = self.data.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.unlike(key, "a whole number from 0 on")
            return default
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """Return a number within bounds; both are allowed."""
        value = self.data.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.unlike(key, f"a number from {least:g} to {most:g}")
            return default
        return float(value)

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts; one text is a list of one."""
        value = self.data.get(key)
        if value is None:
            return default
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.unlike(key, "a list of texts")
            return default
        return tuple(value)

    def words(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a command: a list of texts, or a text that is split as a shell splits words."""
        value = self.data.get(key)
        if isinstance(value, str):
            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                self.wrong(f"{key} is {shown(value)}, which cannot be split into words: {error}")
                return default
        return self.texts(key, default)

    def table(self, key: str) -> Mapping[str, Any]:
        """Return a table within, empty where there is none."""
        value = self.data.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.unlike(key, "a table")
            return {}
        return value

    def values(self, key: str) -> dict[str, str]:
        """Return a table of texts, in which numbers and truths are texts too."""
        found = {}
        for name, value in self.table(key).items():
            if not isinstance(value, str | int | float):
                self.wrong(f"{key}.{name} is {shown(value)}, a text was needed")
                continue
            found[name] = text_of(value)
        return found

    def reasons(self, key: str) -> dict[str, str]:
        """Return pattern -> why: from a table, or from a list or a single text without reasons."""
        value = self.data.get(key)
        if isinstance(value, str | list):
            return dict.fromkeys(self.texts(key), f"{key} says so")
        return self.values(key)

    def resources(self, key: str = "resources") -> Resources | None:
        """Return what a cell takes, None where nothing is said."""
        if not self.has(key):
            return None
        inner = Table(f"{self.where}.{key}", self.table(key), self.problems, ("cpu", "memory", "exclusive"))
        memory = 0
        if inner.has("memory"):
            try:
                memory = parse_size(inner.data["memory"])
            except ValueError:
                inner.unlike("memory", "a size such as 256MiB")
        return Resources(inner.number("cpu", Resources.cpu, 0.0, 1024.0), memory, inner.texts("exclusive"))

    def _of(self, key: str, kind: type[_T], needed: str, default: _T) -> _T:
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, kind):
            self.unlike(key, needed)
            return default
        return value


def text_of(value: object) -> str:
    """Return a text, number or truth as a variable has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
