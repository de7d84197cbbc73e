"""Fail when a process, ledger or held lock of this user's environments is left. Standard library only."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path


def processes() -> list[str]:
    """Return the processes that carry an environment's cookie, and the keepers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"\0HARNESS_RUN=" in b"\0" + environ or b"harness.ownership.keeper" in line:
            found.append(f"process {entry.name}: {line.replace(bytes(1), b' ').decode(errors='replace')[:150]}")
    return found


def state() -> list[str]:
    """Return the ledgers, and the locks that somebody holds."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "harness" if runtime else Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"
    found = [f"ledger {path}" for path in folder.glob("*.ledger")]
    for path in folder.glob("*.lock"):
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                found.append(f"held lock {path}")
    return found


def sockets() -> list[str]:
    """Return the leases of networks and ports that are still held."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [f"lease {line.split()[-1]}" for line in lines if "@harness-" in line]


if __name__ == "__main__":
    left = processes() + state() + sockets()
    for line in left:
        print(f"left behind: {line}", file=sys.stderr)
    sys.exit(1 if left else 0)
