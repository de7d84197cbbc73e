"""A test of a matrix: what it is called, who takes part, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKER, DRIVER = "worker", "driver"
DEFAULT_TIMEOUT = 600.0


@dataclass(frozen=True)
class Resources:
    """What a cell takes while it runs.

    Attributes:
        cpu: cores.
        memory: bytes, 0 for what is not known.
        exclusive: tokens that only one running cell may have at a time.
    """

    cpu: float = 0.5
    memory: int = 0
    exclusive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Role:
    """A part in a test.

    Attributes:
        name: ``worker``, ``driver``, or one of the test's own.
        command: what it runs, () for the entry of its implementation with the test's name and its own.
        image: in place of its implementation's, "" for that one.
    """

    name: str
    command: tuple[str, ...] = ()
    image: str = ""


@dataclass(frozen=True)
class Case:
    """A test, as its file says.

    Attributes:
        name: of the file without ``.md``.
        timeout: seconds that a cell may take in all.
        roles: all of them: the test's own in declared order, then worker, then driver.
        description: the Markdown below the header.
        header: the header as it was read, for a dump.
        digest: of the file's content.
        params: name -> the values that it is run with; each combination is a cell of its own.
        resources: what a cell of it takes.
        measures: whether its cells are run alone and keep every sample.
        retries: how often a cell that did not do as was expected is run again.
    """

    name: str
    timeout: float = DEFAULT_TIMEOUT
    roles: tuple[Role, ...] = (Role(WORKER), Role(DRIVER))
    description: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    measures: bool = False
    retries: int = 0
