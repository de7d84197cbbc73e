"""The contract of test cases in variables: ``TESTCASE`` and ``ROLE``, no arguments, exit code 127 for an unknown one.

Images made for the QUIC Interop Runner (github.com/quic-interop/quic-interop-runner, README.md) are spoken to so. What
that runner mounts besides, at /www, /certs and /downloads, is no part of this: an implementation has it in its image,
or makes it in /shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.matrix.cases import DRIVER, WORKER
from harness.matrix.contracts.exit_code import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLES = {WORKER: "server", DRIVER: "client"}


class TestCase(ExitCode):
    """The worker is the server, the driver the client."""

    entry = ("/run_endpoint.sh",)

    def argv(self, entry: tuple[str, ...], test: str, role: str) -> tuple[str, ...]:  # noqa: ARG002 - in variables
        """Return the entry as it is."""
        return entry

    def env(self, test: str, role: str) -> Mapping[str, str]:
        """Return the test and the role."""
        return {"TESTCASE": test, "ROLE": _ROLES.get(role, role)}
