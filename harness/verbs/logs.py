"""The logs of what is up: all of them, since some time ago, or as they grow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import file_size, printable, read_on
from harness.clock import Deadline, poll
from harness.durations import parse_duration
from harness.errors import BrokenStack, ConfigError, nearest
from harness.keeper.messages import LogsSince
from harness.runs.known import linked, listed, records_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.config import Settings
    from harness.runs.known import ServiceLine

CHUNK = 1 << 20
LOOK_EVERY = 1.0
READ_EVERY = 0.1
_FOREVER = 365 * 86400.0


@dataclass
class _Tail:
    """One log while it is followed."""

    path: Path
    prefix: str
    at: int
    rest: bytes = b""

    def lines(self, *, whole: bool) -> list[str]:
        """Return the lines that came since the last call; the last one without a newline only when ``whole``.

        Or when it is longer than any line should be.
        """
        came, self.at = read_on(self.path, self.at, CHUNK)
        data = self.rest + came
        text, newline, self.rest = data.rpartition(b"\n")
        if len(self.rest) > CHUNK or (whole and self.at >= file_size(self.path)):
            text, newline, self.rest = data, b"", b""
        return [self.prefix + line for line in printable(text + newline).splitlines()]


def seconds_of(since: str) -> float | None:
    """Return what ``--since`` asks for in seconds, None for "". Raises ConfigError."""
    try:
        return parse_duration(since) if since else None
    except ValueError as error:
        raise ConfigError(f"--since {since!r}: {error}") from error


def logs(settings: Settings, service: str = "", *, since: float | None = None, follow: bool = False) -> Iterator[str]:
    """Yield the log lines of what is up, each with its service in front unless one is chosen.

    Args:
        settings: whose.
        service: only this one, "" for all.
        since: seconds; only what was written from then on (at most a second more is shown), None for all.
        follow: whether to go on with what comes, until nothing is up any more.

    Raises:
        ConfigError: nothing is up, or there is no such service.
    """
    tails = _tails(_chosen(listed(settings), service), service)
    if since is not None:
        sizes = _sizes(settings, since)
        for tail in tails.values():
            tail.at = sizes.get(str(tail.path), 0)
    for tail in tails.values():
        while tail.at < file_size(tail.path):
            yield from tail.lines(whole=not follow)
    if not follow:
        return
    look = Deadline.after(LOOK_EVERY)
    for _ in poll(Deadline.after(_FOREVER), longest=READ_EVERY):
        for tail in tails.values():
            yield from tail.lines(whole=False)
        if look.expired():
            look = Deadline.after(LOOK_EVERY)
            try:
                found = _tails([line for line in listed(settings) if service in ("", line.service)], service)
            except (ConfigError, BrokenStack, OSError):  # it is down, or going down
                break
            for path, tail in found.items():
                tails.setdefault(path, tail)
    for tail in tails.values():
        yield from tail.lines(whole=True)


def _chosen(lines: list[ServiceLine], service: str) -> list[ServiceLine]:
    chosen = [line for line in lines if service in ("", line.service)]
    if not chosen and service:
        names = [line.service for line in lines]
        raise ConfigError(f"Service {service!r} is not up; there are: {', '.join(names)}{nearest(service, names)}")
    return chosen


def _tails(chosen: list[ServiceLine], service: str) -> dict[str, _Tail]:
    width = max((len(line.service) for line in chosen), default=0)
    return {
        line.log: _Tail(Path(line.log), "" if service else f"{line.service:<{width}} | ", 0)
        for line in chosen
        if line.log
    }


def _sizes(settings: Settings, since: float) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for record in records_here(settings):
        with linked(record) as link:
            sizes |= link.ask(LogsSince(since))["sizes"]
    return sizes
