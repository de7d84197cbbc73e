"""Whether who listens at an address is of an environment, and whether anybody does in a container."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness import procs
from harness.ownership.identity import RUN_COOKIE
from harness.sockets import Listener, listeners, sockets_of

STEPS_UP = 64  # from a process to its parents, at most: they may change while they are looked at


@dataclass(frozen=True)
class Family:
    """The processes of one environment.

    Attributes:
        env: the environment's id, which stands in what they were started with.
        keeper: pid of its keeper: the parent of services, and of what they left.
        pid: the service that is asked about.
    """

    env: str
    keeper: int
    pid: int


def answering(host: str, port: int) -> list[Listener]:
    """Return the sockets that get a connection to an address: one that is bound to just it goes before the others."""
    takers = [listener for listener in listeners() if listener.takes(host, port)]
    return [listener for listener in takers if not listener.everywhere] or takers


def is_silent(pid: int, container: str, port: int) -> bool:
    """Return whether nothing listens on a port in a container; False also when that cannot be seen from here.

    Args:
        pid: its first process, as its engine numbers it: where that is in another namespace, the number says nothing.
        container: its id, which stands in the control group of its processes.
        port: the port inside.
    """
    if not (procs.is_in_container(pid, container) and os.path.exists(f"/proc/{pid}/net/tcp")):  # noqa: PTH110
        return False
    return all(listener.port != port for listener in listeners(pid))


def stranger_at(host: str, port: int, family: Family) -> str:
    """Return who listens at an address when it is nobody of an environment: pid and command.

    Returns:
        "" when it is one of the environment, when nobody listens, and when it cannot be told since the files of the
        environment's own processes cannot be seen.
    """
    for listener in answering(host, port):
        if _holds(family.pid, listener.inode):
            continue
        holders = [pid for pid in procs.all_pids() if _holds(pid, listener.inode)]
        if any(_is_of(family, pid) for pid in holders):
            continue
        if holders:
            return f"pid {holders[0]} ({procs.command_of(holders[0])[:100]})"
        # What belongs to another user cannot be seen either; but a service may have become another user.
        hidden = any(_holds(pid, listener.inode) is None for pid in (family.pid, *procs.descendants(family.keeper)))
        if listener.uid != os.getuid() and not hidden:
            return f"a process of user {listener.uid} that cannot be seen"
    return ""


def _holds(pid: int, inode: int) -> bool | None:
    """Return whether a process has a socket open, None when its files cannot be seen."""
    return inode in sockets_of([pid]) or (None if _is_hidden(pid) else False)


def _is_hidden(pid: int) -> bool:
    try:
        os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - hundreds of processes, in half the time
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _is_of(family: Family, pid: int) -> bool:
    """Return whether a process is below the keeper or the service, or was started with the environment's cookie."""
    above = pid
    for _ in range(STEPS_UP):
        if above in (family.keeper, family.pid):
            return True
        above = procs.parent_of(above)
        if above <= 1:
            break
    return procs.has_cookie(pid, f"{RUN_COOKIE}={family.env}")
