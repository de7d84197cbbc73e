"""When a log had which size: what makes "since five minutes ago" possible of logs that carry no times."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from harness import artifacts, clock

MOST = 4096  # changes that are remembered of each log; older ones are forgotten, so that more is shown, never less


class LogMarks:
    """The sizes of log files over time, noted once in a while."""

    def __init__(self) -> None:
        self._known: dict[str, deque[tuple[float, int]]] = {}

    def note(self, log: str) -> None:
        """Note the size of a log if it has changed."""
        marks = self._known.setdefault(log, deque(maxlen=MOST))
        size = artifacts.file_size(Path(log))
        if not marks or marks[-1][1] != size:
            marks.append((clock.now(), size))

    def since(self, log: str, seconds: float) -> int:
        """Return the size that a log had ``seconds`` ago, or a little less: from there on all is newer."""
        found = 0
        for at, size in self._known.get(log, ()):
            if at > clock.now() - seconds:
                break
            found = size
        return found
