"""What clients may know of a service, whatever it runs as."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.keeper.messages import ServiceFacts


class Service:
    """A service of a stack: a process (``processes``) or a container (``watch``), and the next one after a restart."""

    def __init__(self, stack: str, name: str, log: str, grace: float) -> None:
        self.stack = stack
        self.name = name
        self.log = log
        self.grace = grace
        self.container = ""
        self.pid = 0
        self.start_time = 0
        self.exit_code: int | None = None
        self.expected = False
        self.under = ""  # what ran when it ended, in words
        self.oom = False
        self.pre_stop = ""  # why its hook before its end failed
        self.health = ""
        self.starts = 0
        self.log_start = 0
        self.began = 0.0  # its present life, in seconds of the wall clock
        self.cpu = 0.0

    @property
    def id(self) -> str:
        """``stack/service``."""
        return f"{self.stack}/{self.name}"

    @property
    def patience(self) -> float:
        """The most seconds that its end may take."""
        return self.grace

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        raise NotImplementedError

    def state_now(self) -> str:
        """Return its state, as in its facts."""
        raise NotImplementedError

    def facts(self) -> ServiceFacts:
        """Return what clients may know."""
        return {
            "stack": self.stack,
            "service": self.name,
            "state": self.state_now(),
            "pid": self.pid,
            "start_time": self.start_time,
            "exit_code": self.exit_code,
            "expected": self.expected,
            "under": self.under,
            "starts": self.starts,
            "restarts": max(0, self.starts - 1),
            "log": self.log,
            "log_start": self.log_start,
            "container": self.container,
            "health": self.health,
            "oom": self.oom,
            "pre_stop": self.pre_stop,
            "began": self.began,
            "cpu": self.cpu,
        }
