"""How far a matrix has come, while it runs: live on a terminal, as lines elsewhere, or not at all."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

from harness import clock
from harness.matrix.expectations import DEFAULT
from harness.matrix.verdicts import STATUSES
from harness.reporting.interop.words import one_line, span, symbols_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from harness.matrix.standing import Standing
    from harness.matrix.verdicts import Result, Verdict

EVERY = 10.0  # seconds between two summaries in lines
SHOWN = 8  # cells that run, on a terminal
COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "timeout": "yellow",
    "crashed": "magenta",
    "broken": "bold magenta",
    "flaky": "yellow",
    "unsupported": "bright_black",
    "skipped": "bright_black",
}


class Progress:
    """Takes every ``Standing`` of a run and shows nothing; the others show it.

    Safe to call from several threads. What it was entered for is over when it is left.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __call__(self, standing: Standing) -> None:
        """Take how far all has come."""

    def end(self) -> None:
        """Leave the terminal as it was."""


class Lines(Progress):
    """A line for each cell that ends, and how far all has come every 10 s at most.

    Args:
        stream: takes them.
        every: seconds between two of the latter.
    """

    def __init__(self, stream: TextIO, every: float = EVERY, now: Callable[[], float] = clock.now) -> None:
        self._stream, self._every, self._now = stream, every, now
        self._symbols = symbols_for(stream.encoding)
        self._lock = threading.Lock()
        self._told = now()

    def __call__(self, standing: Standing) -> None:
        """Tell it."""
        with self._lock:
            if standing.last:
                self._write(cell_line(standing.last, self._symbols))
            if self._now() - self._told >= self._every:
                self._told = self._now()
                self._write(summary_line(standing))

    def _write(self, line: str) -> None:
        try:
            print(line, file=self._stream, flush=True)
        except UnicodeEncodeError:  # a cell may have any name
            print(line.encode("ascii", "backslashreplace").decode(), file=self._stream, flush=True)


class Live(Progress):
    """Redrawn in place on a terminal: a bar, counts, which cells run, and the time that is left."""

    def __init__(self, stream: TextIO, width: int | None = None) -> None:
        from rich.console import Console  # noqa: PLC0415 - it takes a while, and only terminals need it
        from rich.live import Live as Screen  # noqa: PLC0415 - as above

        self._symbols = symbols_for(stream.encoding)
        self._standing: Standing | None = None
        self._at = clock.now()
        self._console = Console(file=stream, width=width, highlight=False, markup=False)
        self._screen = Screen(
            console=self._console, get_renderable=self._drawn, refresh_per_second=4, transient=True
        )  # fmt: skip
        self._has_begun = False
        self._lock = threading.Lock()

    def __call__(self, standing: Standing) -> None:
        """Show it; a cell that did not end well stays above what is redrawn."""
        with self._lock:
            self._standing, self._at = standing, clock.now()
            if not self._has_begun:
                self._has_begun = True
                self._screen.start()
        last = standing.last
        if last and last.verdict.status not in DEFAULT:
            self._console.print(cell_line(last, self._symbols), style=COLOURS[last.verdict.status], soft_wrap=True)

    def end(self) -> None:
        """Take it off the terminal."""
        with self._lock:
            if self._has_begun:
                self._has_begun = False
                self._screen.stop()

    def _drawn(self) -> Any:  # noqa: ANN401 - rich's own: imported late
        from rich.console import Group  # noqa: PLC0415 - as above
        from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        standing = self._standing
        if standing is None:
            return Text("")
        since = clock.now() - self._at
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(standing.total, 1), completed=standing.done, width=30)
        left = max(0.0, standing.left - since)
        said = f"{standing.done} of {standing.total} cells  {span(standing.elapsed + since)}, {span(left)} left"
        head.add_row(bar, Text(said))
        counts = Text()
        for status in STATUSES:
            if n := standing.counts.get(status):
                counts.append(f"{self._symbols[status]} {n} {status}   ", COLOURS[status])
        rows: list[Any] = [head, counts]
        rows += [Text(f"  {cell}", "dim", overflow="ellipsis", no_wrap=True) for cell in standing.running[:SHOWN]]
        if len(standing.running) > SHOWN:
            rows.append(Text(f"  and {len(standing.running) - SHOWN} more", "dim"))
        if standing.pressed:
            rows.append(Text(f"  no cell starts: the machine is short of {standing.pressed}", "yellow"))
        return Group(*rows)


def cell_line(result: Result, symbols: Mapping[str, str]) -> str:
    """Return how a cell has ended, as one line."""
    verdict = result.verdict
    line = f"{symbols[verdict.status]} {verdict.status} {result.cell}"
    if verdict.status != "skipped":
        line += f" ({span(result.seconds)})"
    why = "; ".join(part for part in (_blame(verdict), verdict.reason) if part)
    return one_line(f"{line}: {why}" if why else line)


def _blame(verdict: Verdict) -> str:
    if not verdict.blame:
        return ""
    whose = verdict.role if verdict.blame == "role" else verdict.blame
    return f"{whose} {verdict.implementation}".rstrip()


def summary_line(standing: Standing) -> str:
    """Return how far all has come, as one line."""
    counts = [f"{standing.counts[status]} {status}" for status in STATUSES if standing.counts.get(status)]
    parts = [f"{standing.done} of {standing.total} cells", *counts, f"{len(standing.running)} running"]
    parts.append(f"{span(standing.elapsed)}, about {span(standing.left)} left")
    if standing.pressed:
        parts.append(f"no cell starts: the machine is short of {standing.pressed}")
    return "... " + ", ".join(parts)


def progress_on(stream: TextIO, *, is_live: bool, is_quiet: bool = False) -> Progress:
    """Return what shows a run on a stream: live where that was asked for and can be (rich is there), else lines."""
    if is_quiet:
        return Progress()
    if is_live:
        with suppress(ImportError):  # it is an extra; lines tell the same
            return Live(stream)
    return Lines(stream)
