"""Who owns what: an owner is a process that can be told apart from any later one with the same number."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import procs

RUN_COOKIE = "HARNESS_RUN"
SERVICE_COOKIE = "HARNESS_SERVICE"


@dataclass(frozen=True)
class Owner:
    """A process of this user, on this machine, in this boot, in this process namespace.

    Attributes:
        machine: machine id (machine-id(5)), empty where there is none.
        boot: boot id (random(4)).
        start: clock tick at which the process started (proc(5), field 22).
        pidns: inode of its process namespace, in which alone ``pid`` means anything.
    """

    uid: int
    machine: str
    boot: str
    pid: int
    start: int
    pidns: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Owner:
        """Return the owner that JSON values tell of. Raises TypeError where they are not as they should be."""
        owner = cls(**facts)
        if any(type(getattr(owner, name)) is not kind for name, kind in _KINDS.items()):
            raise TypeError(f"{facts} is no owner")
        return owner


_KINDS = {"uid": int, "machine": str, "boot": str, "pid": int, "start": int, "pidns": int}


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def this_process() -> Owner:
    """Return the calling process as an owner."""
    return Owner(
        uid=os.getuid(),
        machine=_first_line("/etc/machine-id"),
        boot=_first_line("/proc/sys/kernel/random/boot_id"),
        pid=os.getpid(),
        start=procs.start_time_of(os.getpid()) or 0,
        pidns=Path("/proc/self/ns/pid").stat().st_ino,
    )


def is_proven_dead(owner: Owner, here: Owner) -> bool:
    """Return whether ``owner`` is certainly gone, as seen by ``here``. In doubt it is alive."""
    if (owner.uid, owner.machine) != (here.uid, here.machine):
        return False
    if owner.boot != here.boot:
        return True
    return owner.pidns == here.pidns and not procs.is_alive(owner.pid, owner.start)
