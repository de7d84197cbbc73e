"""What an engine intends to do, as values that can be printed and compared without doing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Endpoint:
    """Where a published port of a service can be reached from this machine.

    Attributes:
        service: the service's name.
        left: the number that tests and in-network clients use.
        right: the number inside a container.
        host: address.
        port: the number to connect to.
        protocol: tcp or udp.
    """

    service: str
    left: int
    right: int
    host: str
    port: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class FileCopy:
    """A mounted file as the service sees it: its content, and where the copy goes."""

    source: Path
    target: Path
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class ServicePlan:
    """One service as a local process.

    Attributes:
        stack: its stack.
        service: its name.
        argv: its command, rendered.
        env: its whole environment, rendered.
        cwd: its folder.
        copies: files to write before it starts.
        folders: folders to make before it starts.
        mounts: container path -> path here.
        endpoints: its published ports.
        grace: seconds between TERM and KILL when it is stopped, 0 for KILL at once.
        stop: command that asks it to stop, () for TERM.
        health: command that tells its health, () without one.
    """

    stack: str
    service: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    copies: tuple[FileCopy, ...] = ()
    folders: tuple[Path, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    grace: float = 0.0
    stop: tuple[str, ...] = ()
    health: tuple[str, ...] = ()

    def endpoint(self, number: int) -> Endpoint | None:
        """Return the endpoint whose left number is ``number``, else the one whose right number is."""
        for side in ("left", "right"):
            for one in self.endpoints:
                if getattr(one, side) == number:
                    return one
        return None


@dataclass(frozen=True)
class StackPlan:
    """A stack on an engine.

    Attributes:
        stack: its name.
        engine: the engine's name.
        services: its services, in the order in which Compose gives them.
        notes: lines to tell the user once.
    """

    stack: str
    engine: str
    services: tuple[ServicePlan, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"stack {self.stack} on {self.engine}"]
        for service in self.services:
            lines.append(f"  {service.service}: {' '.join(service.argv)}")
            lines.append(f"    in {service.cwd}")
            lines += [f"    {one.left} -> {one} ({one.protocol})" for one in service.endpoints]
            lines += [f"    {target} = {path}" for target, path in service.mounts.items()]
            lines.append(f"    stop: {f'TERM, {service.grace:g} s, KILL' if service.grace else 'KILL'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
