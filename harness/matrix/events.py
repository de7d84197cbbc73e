"""Events of a cell: what its processes say on standard output, and what the runner adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNNER = "runner"  # the role of events that no process has sent, in reports only: a dump has "" there
READY, DONE, ASSERT, LOG, EXEC, STATUS, EXITED = "ready", "done", "assert", "log", "exec", "status", "exited"
ASSERT_FAILED = "assert-failed"
# What the runner alone knows has names that a process cannot send.
TIMED_OUT, MALFORMED, BROKEN, PROBED, ENDED = (
    "runner.timeout",
    "runner.malformed",
    "runner.broken",
    "runner.probe",
    "runner.ended",
)


@dataclass(frozen=True)
class Event:
    """Something that happened in a cell.

    Attributes:
        ty: type.
        ro: role that it is of, "" for the runner's own.
        ti: milliseconds since 1970, UTC.
        id: as the process has numbered it, or the runner.
        info: what belongs to its type (``in`` on the wire).
    """

    ty: str
    ro: str = ""
    ti: int = 0
    id: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as its line of JSON has it."""
        return {"id": self.id, "ty": self.ty, "ti": self.ti, "ro": self.ro, "in": dict(self.info)}
