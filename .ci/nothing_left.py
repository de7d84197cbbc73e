"""Fail when a process, ledger, lease, held lock, container, network or volume of this checkout's runs is left.

Others on this machine may be running theirs: only environments whose folders are below ``logs`` here are looked for.
With ``--whole-engine`` everything on the engine that any run made is left behind: for an engine that nobody else uses.
Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import tempfile
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from engine import get

LABEL = "harness.run"
RUN_ID = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{8}$")


def environments(logs: Path) -> list[str]:
    """Return the ids of all runs that were made here."""
    return [folder for path in os.walk(logs) for folder in path[1] if RUN_ID.match(folder)]


def processes(ids: list[str]) -> list[str]:
    """Return the processes that carry an environment's cookie, and the keepers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        cookies = {one.partition(b"=")[2].decode() for one in environ.split(b"\0") if one.startswith(b"HARNESS_RUN=")}
        kept = b"harness.keeper.keeper" in line and any(one.encode() in line for one in ids)
        if cookies & set(ids) or kept:
            found.append(f"process {entry.name}: {line.replace(bytes(1), b' ').decode(errors='replace')[:150]}")
    return found


def state(ids: list[str]) -> list[str]:
    """Return the ledgers of these environments, and the locks that somebody holds."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "harness" if runtime else Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"
    found = [f"ledger {path}" for path in folder.glob("*.ledger") if path.stem in ids]
    for path in folder.glob("*.lock"):
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                found.append(f"held lock {path}")
    return found


def leases(ids: list[str]) -> list[str]:
    """Return the keepers' sockets that are still bound."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [f"socket {line.split()[-1]}" for line in lines if any(line.endswith(one) for one in ids)]


def objects(host: str, ids: list[str] | None) -> list[str]:
    """Return the containers, networks and volumes of these environments on the engine; None: of any."""
    found = []
    for kind, path in (("container", "/containers/json?all=1&"), ("network", "/networks?"), ("volume", "/volumes?")):
        status, body = get(host, f"{path}filters={quote(json.dumps({'label': [LABEL]}))}", timeout=30)
        if status != HTTPStatus.OK:
            raise OSError(f"{host} answered {status}: {body[:200]!r}")
        answer = json.loads(body)
        for one in (answer.get("Volumes") if kind == "volume" else answer) or ():
            if ids is None or one["Labels"][LABEL] in ids:
                names = one.get("Names") or [one.get("Name", "?")]
                found.append(f"{kind} {names[0].lstrip('/')} of {one['Labels'][LABEL]}")
    return found


if __name__ == "__main__":
    here = environments(Path(__file__).parents[1] / "logs")
    left = processes(here) + state(here) + leases(here)
    if engine := os.environ.get("DOCKER_HOST"):
        left += objects(engine, None if "--whole-engine" in sys.argv else here)
    print(f"{len(here)} runs were made here, {len(left)} things are left")
    for one in left:
        print(f"left behind: {one}", file=sys.stderr)
    sys.exit(1 if left else 0)
