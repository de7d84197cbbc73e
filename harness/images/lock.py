"""``images.lock``: which image each service runs, written down so that another one is refused.

Of an image that is built the lock holds what it is made of, with the ids of the images that it stands on: two builders
give two ids for the same, and one builder does so each time that it builds anew. Its id is written beside that, for
people. Of any other image its id counts, or one of its digests in a registry: engines name images by different ids.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.artifacts import write_atomically
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE = "images.lock"
FORMAT = 1
_HEAD = (
    f"# Which image each service runs: written by `harness build --lock`, held to by `--locked`.\nformat = {FORMAT}\n"
)
_SHORT = 12


@dataclass(frozen=True)
class LockedImage:
    """The image of a service.

    Attributes:
        stack: its stack.
        service: its name.
        strategy: ``declared``, ``build``, ``prebuilt`` or ``archive``.
        image: the name that it runs, "" of one that is built.
        id: on the engine, "" where it is not there.
        digests: by which registries know it.
        fingerprint: of what it is made of, "" of one that is not built, or that is built each time.
        bases: of one that is built: image that it stands on -> its id.
        doubts: why it cannot be told what it is made of.
    """

    stack: str
    service: str
    strategy: str
    image: str = ""
    id: str = ""
    digests: tuple[str, ...] = ()
    fingerprint: str = ""
    bases: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Whose it is."""
        return self.stack, self.service

    def text(self) -> str:
        """Return it as a table of the lock."""
        lines = [f"{key} = {json.dumps(getattr(self, key))}" for key in ("stack", "service", "strategy")]
        lines += [
            f"{key} = {json.dumps(value)}" for key in ("image", "fingerprint", "id") if (value := getattr(self, key))
        ]
        if self.digests:
            lines.append(f"digests = {json.dumps(list(self.digests))}")
        if self.bases:
            listed = ", ".join(
                f"{json.dumps(name)} = {json.dumps(value)}" for name, value in sorted(self.bases.items())
            )
            lines.append(f"bases = {{ {listed} }}")
        return "\n".join(["", "[[image]]", *lines, ""])


class SpoiltLock(ConfigError):
    """A lock does not hold what was written into it, or is of another version."""


def read(path: Path) -> dict[tuple[str, str], LockedImage]:
    """Return what a lock holds: (stack, service) -> image; nothing where there is no such file.

    Raises:
        SpoiltLock: it is damaged, or of another version.
        ConfigError: it cannot be read.
    """
    try:
        images = _images(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SpoiltLock(f"{path}: {error}", hint="`harness build --lock` writes it anew") from error
    return {image.key: image for image in images}


def _images(content: bytes) -> list[LockedImage]:
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
        return [_image(table) for table in document.get("image", [])]
    except KeyError as error:
        raise ValueError(f"an image has no {error.args[0]}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError("what it says of an image cannot be understood") from error


def _image(table: dict[str, Any]) -> LockedImage:
    return LockedImage(
        str(table["stack"]),
        str(table["service"]),
        str(table["strategy"]),
        image=str(table.get("image", "")),
        id=str(table.get("id", "")),
        fingerprint=str(table.get("fingerprint", "")),
        digests=tuple(map(str, table.get("digests", ()))),
        bases={str(name): str(value) for name, value in table.get("bases", {}).items()},
    )


def write(path: Path, images: Iterable[LockedImage]) -> str:
    """Write a lock; of stacks that are not among ``images`` what it says stays, unless it is spoilt.

    Returns:
        What was wrong with the one that was there, "" for nothing.

    Raises:
        HarnessError: it cannot be read or written.
    """
    before, spoilt = {}, ""
    try:
        before = read(path)
    except SpoiltLock as error:
        spoilt = error.summary
    new = {image.key: image for image in images}
    stacks = {image.stack for image in new.values()}
    others = {key: image for key, image in before.items() if image.stack not in stacks}
    merged = others | new
    write_atomically(path, _HEAD + "".join(merged[key].text() for key in sorted(merged)))
    return spoilt


def drift(held: LockedImage | None, now: LockedImage) -> str:
    """Return how an image differs from what a lock holds, in words, "" where it does not."""
    if held is None:
        return f"is not in {FILE}"
    if held.strategy != now.strategy:
        return f"is {now.strategy}; {held.strategy} was needed"
    if now.strategy == "build":
        return _drift_of_build(held, now)
    if held.image != now.image:
        return f"is {now.image!r}; {held.image!r} was needed"
    if not now.id:
        return f"{now.image!r} is not on the engine; {_short(held.id)} was needed"
    if now.id == held.id or set(now.digests) & set(held.digests):
        return ""
    return f"{now.image!r} is {_short(now.id)}; {_short(held.id)} was needed"


def _drift_of_build(held: LockedImage, now: LockedImage) -> str:
    if now.fingerprint == held.fingerprint and now.fingerprint:
        return ""
    if now.doubts:
        return f"cannot be held to what it is made of: {now.doubts[0]}"
    seen = f"is made of {now.fingerprint}; {held.fingerprint or 'something else'} was needed"
    bases = [
        f"base image {name} is {_short(value)}, {_short(held.bases.get(name, ''))} was needed"
        for name, value in now.bases.items()
        if held.bases.get(name) != value
    ]
    return f"{seen} ({'; '.join(bases) or 'the same base images, other files, arguments or Dockerfile'})"


def refuse_drift(path: Path, held: Mapping[tuple[str, str], LockedImage], images: Iterable[LockedImage]) -> None:
    """Do nothing when images are those of a lock. Raises ConfigError with each that is not."""
    problems = [
        f"Image of service {image.service!r} of stack {image.stack!r} {why} ({path})"
        for image in images
        if (why := drift(held.get(image.key), image))
    ]
    if problems:
        raise ConfigError.of(
            problems,
            hint="`harness build --explain` says what changed; `harness build --lock` writes the lock anew",
        )


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:").removeprefix("made of ")[:_SHORT] or "none"
