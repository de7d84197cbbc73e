"""How often tests failed in the runs of this checkout, and which of them are in quarantine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.durations import parse_age
from harness.errors import ConfigError
from harness.results import flakes as ledger
from harness.runs.flakes import quarantine_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config import Settings
    from harness.results.flakes import Rate
    from harness.results.quarantine import Quarantine


@dataclass(frozen=True)
class Flake:
    """A test as it is shown.

    Attributes:
        rate: how often it failed.
        quarantine: owner, reason, expires and whether that has lapsed; None where it is in none.
    """

    rate: Rate
    quarantine: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        low, high = (round(bound, 4) for bound in self.rate.interval)
        return {
            "test": self.rate.test,
            "stacks": self.rate.stacks,
            **{str(how): count for how, count in self.rate.counts.items()},
            "rate": round(self.rate.rate, 4),
            "low": low,
            "high": high,
            "last_seen": self._last.isoformat(),
            "quarantine": self.quarantine,
        }

    @property
    def _last(self) -> datetime:
        return datetime.fromtimestamp(self.rate.last, UTC)

    def row(self) -> tuple[str, ...]:
        """Return it as the cells of a table."""
        rate, (low, high), counts = self.rate, self.rate.interval, self.rate.counts
        held = "-"
        if self.quarantine:
            how = "lapsed" if self.quarantine["lapsed"] else "until"
            held = f"{how} {self.quarantine['expires']} ({self.quarantine['owner']})"
        return (
            f"{100 * rate.rate:.1f} %",
            f"{100 * low:.1f}-{100 * high:.1f} %",
            *(str(counts[how]) for how in ("passed", "failed", "flaky", "broken")),
            f"{self._last:%Y-%m-%d %H:%M}",
            rate.stacks or "-",
            held,
            rate.test,
        )


HEAD = ("RATE", "95 %", "PASSED", "FAILED", "FLAKY", "BROKEN", "LAST SEEN (UTC)", "STACKS", "QUARANTINE", "TEST")


def flakes(settings: Settings, *, since: str = "", every: bool = False) -> list[Flake]:
    """Return the tests that failed, those with the highest rates first.

    Args:
        settings: of the project.
        since: only what came in this time, such as 7d; "" for all that is known.
        every: also tests that never failed.

    Raises:
        ConfigError: the time is none, or a file cannot be read or has something wrong in it.
    """
    try:
        begin = time.time() - parse_age(since) if since else 0.0
    except ValueError as error:
        raise ConfigError(f"--since {since!r}: {error}") from error
    quarantine = quarantine_of(settings)
    rates = ledger.rates(ledger.read(settings.flakes), since=begin, every=every)
    return [Flake(rate, _held(quarantine, rate.test)) for rate in rates]


def table(shown: Sequence[Flake]) -> list[tuple[str, ...]]:
    """Return tests as the rows of a table, with a head."""
    return [HEAD, *(flake.row() for flake in shown)]


def _held(quarantine: Quarantine, test: str) -> dict[str, Any] | None:
    entry = quarantine.of(test)
    return {**entry.as_dict(), "lapsed": quarantine.has_lapsed(entry)} if entry else None
