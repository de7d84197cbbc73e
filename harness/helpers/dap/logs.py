"""Logs that parties of DAP keep in a folder of their own, ``/logs``, as the test API's draft asks them to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = "/logs"


class Copied(Protocol):
    """What logs are copied out of: a service of a running stack."""

    name: str

    def copy_out(self, path: str, to: Path) -> Path:
        """Copy a file or folder to ``to``. Raises HarnessError."""


def copy_logs(services: Iterable[Copied], to: Path, *, folder: str = FOLDER) -> list[str]:
    """Copy the logs of services to ``to``, each to a folder by its name; return what could not be had, in words.

    An archive's names that are absolute or lead upwards are refused by the copying itself. A service's name that would
    is refused here.
    """
    problems = []
    for service in services:
        place = Path(service.name)
        if place.is_absolute() or len(place.parts) != 1 or ".." in place.parts:
            problems.append(f"{service.name!r} is no name of a folder")
            continue
        try:
            to.mkdir(parents=True, exist_ok=True)
            service.copy_out(folder, to / place)
        except HarnessError as error:
            problems.append(f"{service.name}: {error.summary}")
        except OSError as error:
            problems.append(f"{service.name}: {to / place}: {error.strerror}")
    return problems
