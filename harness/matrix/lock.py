"""``interop.lock``: what the implementations of a matrix were made of, written down so that other ones are refused.

A commit and an image are held on every engine. Of what is built, engines of containers are held to what the image is
made of, as ids of what is built differ from machine to machine; local processes to their folder, setup and command.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE = "interop.lock"
FORMAT = 1
_HEAD = (
    "# What the implementations of this matrix are made of: written by `harness interop.lock`, held to by `--locked`.\n"
    f"format = {FORMAT}\n"
)
_SHORT = 12
_DIGEST = re.compile(r"[0-9a-f]{40,}")
_TEXTS = ("name", "source", "repository", "commit", "image", "id", "tree", "fingerprint")
_COMMON = ("source", "repository", "commit", "image")


@dataclass(frozen=True)
class Locked:
    """What an implementation is made of.

    Attributes:
        name: of the implementation; of an image that tests name, the image's.
        source: ``build``, ``image``, ``git`` or ``command``, and ``test`` of an image that tests name.
        repository: of ``git``, without what only its owner may know.
        commit: of that.
        image: of ``image`` and ``test``.
        id: of that image on the engine.
        tree: of a local process: a hash of its folder, setup and command; "" where it is none.
        fingerprint: of an image that is built: of what it is made of; "" where no engine told.
        bases: image that it stands on -> what stands for that.
        doubts: why it cannot be told what its image is made of.
    """

    name: str
    source: str
    repository: str = ""
    commit: str = ""
    image: str = ""
    id: str = ""
    tree: str = ""
    fingerprint: str = ""
    bases: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it as a table of the lock."""
        lines = [f"{key} = {json.dumps(value)}" for key in _TEXTS if (value := getattr(self, key))]
        if self.bases:
            listed = ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in sorted(self.bases.items()))
            lines.append(f"bases = {{ {listed} }}")
        return "\n".join(["", "[[implementation]]", *lines, ""])


def parse(content: bytes, where: str) -> dict[str, Locked]:
    """Return what a lock holds: name -> implementation.

    Raises:
        ConfigError: it is damaged, or of another version.
    """
    try:
        return {each.name: each for each in _parsed(content)}
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", hint="`harness interop.lock` writes it anew") from error


def _parsed(content: bytes) -> list[Locked]:
    """Return what a lock holds. Raises ValueError with what is wrong with it, in words."""
    if not content.strip():
        raise ValueError("it is empty")
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError("it is no text") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is no TOML: {error}") from error
    if document.get("format") != FORMAT:
        raise ValueError(f"format is {document.get('format', 'not told')}; {FORMAT} was needed")
    try:
        return [_implementation(table) for table in document.get("implementation", [])]
    except KeyError as error:
        raise ValueError(f"an implementation has no {error.args[0]}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError("what it says of an implementation cannot be understood") from error


def _implementation(table: dict[str, Any]) -> Locked:
    texts: dict[str, Any] = {key: str(table.get(key, "")) for key in _TEXTS[2:]}
    bases = {str(name): str(value) for name, value in table.get("bases", {}).items()}
    return Locked(str(table["name"]), str(table["source"]), **texts, bases=bases)


def written(before: Mapping[str, Locked], now: Iterable[Locked]) -> str:
    """Return the text of a lock; what is known on another engine alone stays while the source is the same.

    Args:
        before: what it held.
        now: all implementations, as one engine tells them.
    """
    return _HEAD + "".join(_kept(before.get(each.name), each).text() for each in sorted(now, key=lambda one: one.name))


def _kept(before: Locked | None, now: Locked) -> Locked:
    is_same = before and all(getattr(before, key) == getattr(now, key) for key in _COMMON)
    if not before or not is_same or (before.tree and now.tree and before.tree != now.tree):
        return now
    kept: dict[str, Any] = {key: getattr(now, key) or getattr(before, key) for key in ("id", "tree")}
    if not now.fingerprint:
        kept |= {"fingerprint": before.fingerprint, "bases": before.bases}
    return replace(now, **kept)


def drifts(held: Mapping[str, Locked], now: Iterable[Locked], *, containers: bool) -> list[str]:
    """Return how implementations differ from what a lock holds, a sentence for each that does.

    Args:
        held: what the lock holds.
        now: all implementations, as they are.
        containers: whether they are run as containers.
    """
    now = list(now)
    told = [f"{each.name} {why}" for each in now if (why := _drift(held.get(each.name), each, containers=containers))]
    gone = sorted(held.keys() - {each.name for each in now})
    return told + [f"{name} is in {FILE}, and no more in the matrix" for name in gone]


def _drift(held: Locked | None, now: Locked, *, containers: bool) -> str:
    if held is None:
        return f"is not in {FILE}"
    for key in _COMMON:
        if getattr(held, key) != getattr(now, key):
            return f"has {key} {_told(getattr(now, key))}; {_told(getattr(held, key))} is held"
    if not containers:
        if now.tree == held.tree:
            return ""
        if not held.tree:
            return f"is not in {FILE} as a local process"
        return f"has other files, setup or command: {now.tree or 'none'} was found, {held.tree} is held"
    if now.source in ("image", "test"):
        return "" if now.id == held.id else f"is image {_told(now.id)}; {_told(held.id)} is held"
    return _drift_of_build(held, now)


def _drift_of_build(held: Locked, now: Locked) -> str:
    if now.fingerprint == held.fingerprint and now.fingerprint:
        return ""
    if now.source == "command":
        return ""  # it has no image, which its cells tell
    if now.doubts:
        return f"cannot be held to what it is made of: {now.doubts[0]}"
    if not held.fingerprint:
        return f"is not in {FILE} as an image"
    bases = [
        f"base image {name} is {_told(value)}, {_told(held.bases.get(name, ''))} is held"
        for name, value in now.bases.items()
        if held.bases.get(name) != value
    ]
    why = "; ".join(bases) or "the same base images, other files, arguments or Dockerfile"
    return f"is made of {now.fingerprint}; {held.fingerprint} is held ({why})"


def _told(text: str) -> str:
    short = text.removeprefix("sha256:").removeprefix("made of ")
    return (short[:_SHORT] if _DIGEST.fullmatch(short) else text) or "none"
