"""An implementation that takes part in a matrix, as ``interop.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.matrix.cases import DRIVER, WORKER, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where the program of an implementation comes from.

    Attributes:
        kind: a folder with a Dockerfile, an image by digest or id, a commit of a repository with a Dockerfile, or
            nothing but a command of this machine.
        folder: the absolute path of what is built; of ``git``, within the repository.
        image: the image's name.
        repository: URL of the repository.
        commit: 40 hexadecimal digits, "" where an old manifest does not say (it is then held in ``interop.lock``).
        target: stage of the Dockerfile, "" for the last.
        args: build arguments.
    """

    kind: Literal["build", "image", "git", "command"]
    folder: Path | None = None
    image: str = ""
    repository: str = ""
    commit: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Implementation:
    """An implementation.

    Attributes:
        name: its name; with versions, ``NAME@VERSION``.
        source: where its image comes from.
        command: how it is started as a local process, () where it cannot be; the test's name and role are appended.
        folder: where its command is run: the folder of ``interop.toml`` (absolute).
        setup: a command that is run once before the first cell, such as ``npm ci``; () for none.
        entry: the program in its image.
        roles: parts that it can take.
        provides: patterns (``fnmatch``) of tests that it takes part in.
        skip: pattern of tests -> why it does not take part.
        env: variables.
        resources: what it takes, in place of the tests' where it says so; None for theirs.
        version: "" where it has only one.
        version_cmd: prints its version, () for none.
        contract: how it is spoken to: the name of an adapter.
        is_local: whether it is the one that is developed here; the seed's ``test`` has it as the worker.
    """

    name: str
    source: Source
    command: tuple[str, ...] = ()
    folder: Path | None = None
    setup: tuple[str, ...] = ()
    entry: tuple[str, ...] = ("th-test",)
    roles: tuple[str, ...] = (WORKER, DRIVER)
    provides: tuple[str, ...] = ("*",)
    skip: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    version: str = ""
    version_cmd: tuple[str, ...] = ()
    contract: str = "th-test"
    is_local: bool = False


@dataclass(frozen=True)
class Matrix:
    """What ``interop.toml`` declares.

    Attributes:
        name: its name.
        file: ``interop.toml``, or ``_implementations.json`` where there is none; absolute.
        tests: folder of its tests, absolute.
        implementations: all of them, in the file's order.
        workers: names of those that are workers; () for all that can be.
        drivers: likewise.
        seed: what ``INTEROP_SEED`` of each cell is made from.
    """

    name: str
    file: Path
    tests: Path
    implementations: tuple[Implementation, ...]
    workers: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    seed: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the file: ``expect.toml`` and ``interop.lock`` are in it, and paths are relative to it."""
        return self.file.parent
