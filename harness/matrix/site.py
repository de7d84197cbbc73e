"""Where a cell takes place: what an engine gives it, whichever engine that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A role as it is started in a cell.

    Attributes:
        role: its name; it is also its host's name in the cell's network.
        implementation: who plays it.
        argv: all words of its command.
        env: variables, without those that the site knows (INTEROP_SHARED, INTEROP_LOGS, INTEROP_PEERS).
        image: id of the image; "" for a local process.
        cwd: folder of a local process.
        cpu: cores at most, 0 for any.
        memory: bytes at most, 0 for any.
        contract: how it is spoken to.
        ready: pattern of the line that it is ready with, where it sends no events.
    """

    role: str
    implementation: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    cwd: Path | None = None
    cpu: float = 0.0
    memory: int = 0
    contract: str = "th-test"
    ready: str = ""


@dataclass(frozen=True)
class Heard:
    """What a site tells of a role, in the order in which it happened.

    Attributes:
        role: whose it is, "" for the site itself.
        what: ``output`` (bytes of one stream), ``exited`` (all its output was told before), or ``lost`` (the engine or
            the keeper is gone, or could not do as asked).
        data: of output.
        is_error: whether it is of standard error.
        code: exit code; negative for a signal.
        oom: whether the kernel ended it for want of memory.
        why: of lost.
        at: seconds since 1970.
    """

    role: str
    what: Literal["output", "exited", "lost"]
    data: bytes = b""
    is_error: bool = False
    code: int = 0
    oom: bool = False
    why: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Collected:
    """What is known of a cell when all its roles have ended.

    Attributes:
        cpu: seconds of processor time, None where it is not known.
        left: what could not be copied or removed, in words.
    """

    cpu: float | None = None
    left: tuple[str, ...] = ()


class Site(Protocol):
    """One cell's place on an engine. All methods block.

    ``hear`` of the maker is called in a thread of this site's own, one call after the other. While it does not return,
    roles that write more than a pipe holds wait: so a flood fills no memory, and no event of it is lost.
    """

    def create(self, parts: Collection[Part]) -> None:
        """Make network, /shared, /logs and all roles, and start none. Raises HarnessError: the cell is broken."""
        ...

    def start(self, role: str) -> None:
        """Start a role. Raises HarnessError."""
        ...

    def tell(self, role: str, line: bytes) -> None:
        """Write to a role's standard input; what it does not read is dropped, who has ended is not told."""
        ...

    def terminate(self, roles: Collection[str]) -> None:
        """Ask roles to end (TERM)."""
        ...

    def kill(self, roles: Collection[str]) -> None:
        """End roles (KILL), and whatever they forked."""
        ...

    def collect(self) -> Collected:
        """Copy what roles left in /logs to the cell's folder; return what is known of them."""
        ...

    def leave(self) -> str:
        """Let the roles that live stay as they are, heard no more; return the stack that they are, which is still held.

        Raises:
            HarnessError: they cannot stay.
        """
        ...

    def remove(self) -> tuple[str, ...]:
        """Remove all that was made, also when ``create`` failed; return what could not be, in words."""
        ...


class Sites(Protocol):
    """The places of one run's cells; safe to use from several threads."""

    @property
    def mounts(self) -> bool:
        """Whether roles find /shared and /logs at these paths; where not, only INTEROP_SHARED and INTEROP_LOGS."""
        ...

    @property
    def clears_slowly(self) -> bool:
        """Whether a place takes so long to remove that it is better done while the next cell runs."""
        ...

    def site(self, cell: str, folder: Path, hear: Callable[[Heard], None]) -> Site:
        """Return a place for a cell, whose evidence goes to ``folder``; nothing is made yet."""
        ...
