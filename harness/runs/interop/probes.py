"""Whether implementations say of a test that nobody knows that they do not support it: only then they are believed."""

from __future__ import annotations

import queue
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from harness import clock
from harness.errors import HarnessError
from harness.matrix.contracts.known import CONTRACTS
from harness.matrix.events import READY, UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.matrix.contracts.ears import Ears
    from harness.matrix.site import Heard, Part, Sites

LIMIT = 10.0
"""Seconds that an implementation has to say that it does not know a test."""
_LOOK = 0.1  # seconds until it is seen that the run is to end


class Probes:
    """Asks implementations of a test with a random name, once for each role.

    Safe to use from several threads: who asks what is being asked waits for that answer.

    Args:
        sites: where they are asked.
        folder: where the evidence of it goes.
        part: how an implementation (first) is started in a role (second) for a test (third).
        stop: set when the run is to end.
    """

    def __init__(
        self,
        sites: Sites,
        folder: Path,
        part: Callable[[str, str, str], Part],
        stop: threading.Event | None = None,
    ) -> None:
        self._sites, self._folder, self._part = sites, folder, part
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._answers: dict[tuple[str, str], bool] = {}

    def __call__(self, implementation: str, role: str) -> bool:
        """Return whether it exits with 127 before it is ready, within 10 s.

        Raises:
            HarnessError: it could not be asked.
        """
        asked = (implementation, role)
        with self._lock:
            lock = self._locks.setdefault(asked, threading.Lock())
        with lock:
            if asked not in self._answers:
                self._answers[asked] = self._ask(implementation, role)
            return self._answers[asked]

    def _ask(self, implementation: str, role: str) -> bool:
        heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        folder = self._folder / f"{implementation}-{role}"
        folder.mkdir(parents=True, exist_ok=True)
        site = self._sites.site(f"probe/{implementation}/{role}", folder, heard.put)
        try:
            part = self._part(implementation, role, f"probe-{secrets.token_hex(6)}")
            site.create([part])
            site.start(role)
            answer = self._answer(CONTRACTS[part.contract].ears(role, part.ready), heard)
            site.kill([role])
            return answer
        finally:
            site.remove()

    def _answer(self, ears: Ears, heard: queue.SimpleQueue[Heard]) -> bool:
        deadline = clock.Deadline.after(LIMIT)
        while not deadline.expired() and not self._stop.is_set():
            try:
                told = heard.get(timeout=min(_LOOK, deadline.remaining()))
            except queue.Empty:
                continue
            if told.what == "exited":
                return told.code == UNSUPPORTED and all(event.ty != READY for event in ears.end(told.code, 0))
            if told.what == "lost":
                raise HarnessError(told.why)
            if any(event.ty == READY for event in ears.feed(told.data, 0, is_error=told.is_error)):
                return False
        return False
