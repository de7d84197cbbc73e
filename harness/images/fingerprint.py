"""What an image is made of, as a value: one short hash of all of it, and in words what of it differs from before."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.images.contexts import Held

FORMAT = 2
MOST_FILES = 10
_LENGTH = 16


def digest(text: str) -> str:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True)
class Ingredients:
    """What an image is made of. No value of an argument is in it.

    Attributes:
        lines: digests of the lines of its Dockerfile, as that is written.
        arguments: build argument -> digest of its value.
        bases: image as the Dockerfile names it -> its id on the engine.
        settings: other keys of its build -> what they say: target, platform, labels.
        contexts: name of a folder, "" for the build's own -> what it holds.
        doubts: why it cannot be told whether the same ingredients give the same image.
    """

    lines: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, Held] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of all of it, the same wherever it is computed; "" where there are doubts."""
        if self.doubts:
            return ""
        contexts = {name: held.digest for name, held in self.contexts.items()}
        facts = [FORMAT, self.lines, *map(_sorted, (self.arguments, self.bases, self.settings, contexts))]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:_LENGTH]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; the values of arguments cannot be guessed from it."""
        salt = os.urandom(16).hex()
        return {
            "format": FORMAT,
            "salt": salt,
            "lines": list(self.lines),
            "arguments": {name: _salted(value, salt) for name, value in self.arguments.items()},
            "bases": dict(self.bases),
            "settings": dict(self.settings),
            "contexts": {name: dict(held.files) for name, held in self.contexts.items()},
        }


@dataclass(frozen=True)
class Found:
    """An image that a run has built, or has found built: by its id, since a name may stand for another one by then.

    Attributes:
        id: on the engine.
        made_of: what it is made of.
    """

    id: str
    made_of: Ingredients


def _sorted(table: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(table.items())


def _salted(value: str, salt: str) -> str:
    return hmac.new(salt.encode(), value.encode(), hashlib.sha256).hexdigest()[:_LENGTH]


def differences(before: Mapping[str, Any], now: Ingredients, dockerfile: str) -> list[str]:
    """Return what differs from before, in words.

    Args:
        before: what ``as_dict`` gave then.
        now: as it is.
        dockerfile: where that is, for people.
    """
    if before.get("format") != FORMAT:
        return ["another version of harness has built it"]
    arguments = {name: _salted(value, before["salt"]) for name, value in now.arguments.items()}
    return [
        *_lines(before["lines"], now.lines, dockerfile),
        *(f"argument {name} {how}" for name, how in _of_tables(before["arguments"], arguments)),
        *(f"base image {name} {how}" for name, how in _of_tables(before["bases"], now.bases, ids=True)),
        *(f"{name} {how}" for name, how in _of_tables(before["settings"], now.settings)),
        *_files(before["contexts"], now.contexts),
    ]


def _of_tables(before: Mapping[str, str], now: Mapping[str, str], *, ids: bool = False) -> Iterator[tuple[str, str]]:
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            yield name, "is gone"
        elif name not in before:
            yield name, "is new"
        elif before[name] != now[name]:
            yield name, f"changed ({_short(before[name])} -> {_short(now[name])})" if ids else "changed"


def _short(image: str) -> str:
    return image.removeprefix("sha256:").removeprefix("made of ")[:12] or "not there"


def _lines(before: list[str], now: tuple[str, ...], dockerfile: str) -> Iterator[str]:
    """Tell the lines that differ: with the numbers that they have now."""
    if list(now) == before:
        return
    for kind, old, old_end, new, new_end in SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if kind == "delete":
            count = old_end - old
            yield f"{dockerfile}:{new + 1}: {count} line{'s' if count > 1 else ''} before it removed"
        elif kind != "equal":
            lines = f"lines {new + 1}-{new_end}" if new_end - new > 1 else f"line {new + 1}"
            yield f"{dockerfile}:{new + 1}: {lines} {'added' if kind == 'insert' else 'changed'}"


def _files(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Held]) -> Iterator[str]:
    for context in sorted(before.keys() | now.keys()):
        old = before.get(context, {})
        new: Mapping[str, str] = now[context].files if context in now else {}
        whose = f" of context {context}" if context else ""
        changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        for name in changed[:MOST_FILES]:
            yield f"file {name}{whose} {_how(old.get(name), new.get(name))}"
        if len(changed) > MOST_FILES:
            yield f"and {len(changed) - MOST_FILES} other files{whose}"


def _how(old: str | None, new: str | None) -> str:
    if old is None:
        return "came"
    if new is None:
        return "was removed"
    if old.partition(" ")[2] == new.partition(" ")[2] and old[0] == new[0]:
        return f"has other permissions ({old.partition(' ')[0][1:]} -> {new.partition(' ')[0][1:]})"
    return "changed"
