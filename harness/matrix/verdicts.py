"""What became of a cell, and whose doing it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["succeeded", "failed", "unsupported", "timeout", "crashed", "broken", "skipped", "flaky"]
STATUSES: tuple[Status, ...] = (
    "succeeded",
    "failed",
    "unsupported",
    "timeout",
    "crashed",
    "broken",
    "skipped",
    "flaky",
)


@dataclass(frozen=True)
class Verdict:
    """How a cell ended.

    Attributes:
        status: one word.
        blame: whose doing it was: a role's (an implementation in that role), the runner's or the engine's; "" for
            nobody's.
        role: the role to blame, "" where none is.
        implementation: the implementation to blame, "" where none is.
        reason: one sentence.
        event: place in the cell's log of the first event that decided it, None where none did.
    """

    status: Status
    blame: Literal["", "role", "implementation", "runner", "engine"] = ""
    role: str = ""
    implementation: str = ""
    reason: str = ""
    event: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Return the verdict of JSON values; keys of later versions are left out. Raises ValueError."""
        if data.get("status") not in STATUSES:
            raise ValueError(f"status is {data.get('status')!r}, one of {', '.join(STATUSES)} was needed")
        return cls(**{name: value for name, value in data.items() if name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Result:
    """What came out of a cell, as the journal and the report have it.

    Attributes:
        cell: its id.
        digest: of all that it was made of, see ``Cell.digest``.
        verdict: of its last attempt; ``flaky`` where a retry changed it.
        attempts: of all attempts, in order.
        began: seconds since 1970.
        seconds: wall time, of the last attempt.
        cpu: seconds of processor time, of all roles; None where it is not known.
        spans: stage -> seconds: create, ready, run, end, collect.
        exits: role -> exit code.
        samples: what a measurement cell has sent, by name.
        folder: its evidence, relative to the run's folder: events.jsonl, a log for each role, logs/, repro.sh.
        pressed: whether the machine was short of something meanwhile.
        left: what of it could not be removed, in words.
        taken: the run that it was taken over from, "" when the cell was run.
    """

    cell: str
    digest: str
    verdict: Verdict
    attempts: tuple[Verdict, ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    cpu: float | None = None
    spans: Mapping[str, float] = field(default_factory=dict)
    exits: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, list[float]] = field(default_factory=dict)
    folder: str = ""
    pressed: bool = False
    left: tuple[str, ...] = ()
    taken: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        """Return what ``as_dict`` gave. Raises ValueError for what it cannot have given.

        Keys that are not known are passed over: a later version may have written them.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        try:
            known["verdict"] = Verdict.from_dict(values["verdict"])
            known["attempts"] = tuple(Verdict.from_dict(verdict) for verdict in values.get("attempts", ()))
            known["left"] = tuple(values.get("left", ()))
            result = cls(**known)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no result of a cell: {error}") from error
        texts = (result.cell, result.digest, result.folder, result.taken)
        if not all(isinstance(text, str) for text in texts) or not isinstance(result.seconds, int | float):
            raise ValueError("it is no result of a cell: a value has the wrong type")
        return result

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**vars(self), "verdict": vars(self.verdict), "attempts": [vars(verdict) for verdict in self.attempts]}
