"""Tests that are taken from a repository: what of a folder of tests changes, and what is of its own there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = ".tests-from.json"
"""Beside the tests: what was taken, so that a change of one's own is known from one of theirs."""
FORMAT = 1
Record = dict[str, tuple[str, ...]]
"""Name of a test -> digests of what was taken; two while they are being written."""


@dataclass(frozen=True)
class Update:
    """What an update of a folder of tests does.

    Attributes:
        added: names of files that are new.
        changed: those that are written anew.
        removed: those that are theirs no longer, and go.
        unchanged: those that are as they were.
        own: those that never were theirs, and stay.
        lost: those with a change of one's own, which would be lost.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("added", "changed", "removed", "unchanged", "own")}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name != "own")


def compared(theirs: Mapping[str, bytes], here: Mapping[str, bytes], record: Mapping[str, tuple[str, ...]]) -> Update:
    """Return what has to be done for a folder to have their tests.

    Args:
        theirs: name -> content, in the repository.
        here: name -> content, in the folder.
        record: what was taken before.
    """
    kinds: dict[str, list[str]] = {}
    for name in sorted({*theirs, *here}):
        new, old = theirs.get(name), here.get(name)
        if old is None:
            kind = "added"
        elif old == new:
            kind = "unchanged"
        elif new is None and name not in record:
            kind = "own"
        elif digest(old) not in record.get(name, ()):
            kind = "lost"
        else:
            kind = "removed" if new is None else "changed"
        kinds.setdefault(kind, []).append(name)
    return Update(**{kind: tuple(names) for kind, names in kinds.items()})


def digest(content: bytes) -> str:
    """Return what stands for a content."""
    return hashlib.sha256(content).hexdigest()


def write_record(source: Mapping[str, str], record: Mapping[str, tuple[str, ...]]) -> str:
    """Return the text of a record; ``source`` says where its tests come from, for people."""
    tests = {name: list(digests) for name, digests in sorted(record.items())}
    return json.dumps({"format": FORMAT, **source, "tests": tests}, indent=2) + "\n"


def parse_record(text: bytes, where: str) -> Record:
    """Return what a record says. Raises ConfigError: it is damaged, or of another format."""
    try:
        data = json.loads(text)
        if data["format"] == FORMAT:
            return {str(name): tuple(map(str, digests)) for name, digests in data["tests"].items()}
        problem = f"its format is {data['format']!r}, {FORMAT} was needed"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        problem = "it cannot be understood"
    raise ConfigError(
        f"{where}: {problem}", hint="take it away: then only files that differ from the repository's are in the way"
    )
