"""What went wrong at a party of DAP, in its own words."""

from __future__ import annotations

import re

from harness.errors import HarnessError

_PROBLEM = re.compile(r"urn:ietf:params:ppm:dap:error:(\w+)")


class DapFailure(HarnessError):
    """A party refused a command of the test API, did not answer it, or says that it came to nothing.

    Attributes:
        party: which one, such as ``leader``.
        command: the command.
        status: the HTTP status, 0 without an answer.
        said: its own words.
    """

    def __init__(self, party: str, command: str, said: str, *, status: int = 0) -> None:
        super().__init__(f"{party}: {command}: {said}")
        self.party = party
        self.command = command
        self.status = status
        self.said = said

    @property
    def problem(self) -> str:
        """The name that DAP has for it, such as ``batchOverlap``; "" where the party tells none."""
        found = _PROBLEM.search(self.said)
        return found[1] if found else ""
