"""Who a local process runs as, where that is not the caller: only root may choose.

A program that refuses to be root (PostgreSQL does) gets a user without privileges, and its data a place that this user
can reach.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534  # the user and group that systems have for those who own nothing
PLACES = ("/var/tmp", "/tmp")  # noqa: S108 - what is made there has a name of its own, and must be new

# Put before a command, this makes it run as another user. The kernel forgets a parent-death signal when the user
# changes (prctl(2)), so it is set again.
# What Python needs is loaded before: the interpreter may be where that user cannot read. In a namespace of its own, if
# the kernel allows one, shared memory goes with the process, however that ends (ipc_namespaces(7)).
_LAUNCH = """
import ctypes, os, signal, sys, warnings
uid, gid, groups = int(sys.argv[1]), int(sys.argv[2]), [int(group) for group in sys.argv[3].split(",") if group]
parent = os.getppid()
libc = ctypes.CDLL(None)
libc.unshare(0x08000000)
try:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
except OSError as error:
    sys.exit("it cannot run as user %d: %s" % (uid, error.strerror))
libc.prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the process that started this one is gone")
try:
    os.execvp(sys.argv[4], sys.argv[4:])
except OSError as error:
    sys.exit("%s cannot be run as user %d: %s" % (sys.argv[4], uid, error.strerror))
"""

# The same for a user whom the machine's list of users does not name, and a program that asks for its name: in a user
# namespace (user_namespaces(7)) it has the number of one who is named. Files that it makes are the caller's.
_NAMED = """
import ctypes, os, sys, warnings
uid, gid = os.geteuid(), os.getegid()
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000):
    sys.exit("user %d has no name, and cannot have one here: unshare: %s" % (uid, os.strerror(ctypes.get_errno())))
for name, text in (("setgroups", "deny"), ("uid_map", "%s %d 1" % (sys.argv[1], uid)), ("gid_map", "%s %d 1" % (sys.argv[2], gid))):
    with open("/proc/self/" + name, "w") as file:
        file.write(text)
os.execvp(sys.argv[3], sys.argv[3:])
"""  # noqa: E501 - one statement of a script


@dataclass(frozen=True)
class User:
    """A user of this machine.

    Attributes:
        name: as it was written.
        uid: its number.
        gid: its group.
        groups: the other groups that it is in.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def launcher(self) -> tuple[str, ...]:
        """Return what makes a command run as this user, put before it; whoever starts it is root."""
        groups = ",".join(map(str, self.groups))
        return (sys.executable, "-ISc", _LAUNCH, str(self.uid), str(self.gid), groups)

    def can_pass(self, folder: Path) -> bool:
        """Return whether this user can reach what is in a folder, by the modes of it and of all above it."""
        return all(self._may_search(above) for above in _with_all_above(folder))

    def _may_search(self, folder: Path) -> bool:
        try:
            facts = folder.stat()
        except OSError:
            return False
        if facts.st_uid == self.uid:
            return bool(facts.st_mode & stat.S_IXUSR)
        if facts.st_gid in (self.gid, *self.groups):
            return bool(facts.st_mode & stat.S_IXGRP)
        return bool(facts.st_mode & stat.S_IXOTH)


def _with_all_above(folder: Path) -> Iterator[Path]:
    folder = folder.resolve()
    yield folder
    yield from folder.parents


def unprivileged() -> User:
    """Return the user without privileges: ``nobody``, by its usual number where no such name is known."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return User("nobody", NOBODY, NOBODY)
    return User("nobody", entry.pw_uid, entry.pw_gid)


def user_of(written: str) -> User | None:
    """Return the user that ``NAME``, ``UID`` or either with ``:GROUP`` means; None where that is the caller.

    A number needs no name.

    Raises:
        ConfigError: there is no such user or group, or the caller may not become it.
    """
    name, _, group = written.partition(":")
    uid, gid, groups = _of_user(name)
    if group:
        gid, groups = _gid_of(group), ()
    if uid == os.geteuid() and (not group or gid == os.getegid()):
        return None
    if os.geteuid() != 0:
        raise ConfigError(f"user {written!r}: only root can start a process as somebody else, and this is {caller()}")
    return User(written, uid, gid, groups)


def _of_user(name: str) -> tuple[int, int, tuple[int, ...]]:
    with suppress(KeyError):
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    if name.isdigit():
        return int(name), int(name), ()
    raise ConfigError(f"user {name!r} is not known on this machine; a number needs no name")


def _gid_of(name: str) -> int:
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"group {name!r} is not known on this machine; a number needs no name") from None


def caller() -> str:
    """Return who the caller is, in words."""
    with suppress(KeyError):
        return f"{pwd.getpwuid(os.geteuid()).pw_name} (uid {os.geteuid()})"
    return f"uid {os.geteuid()}, which has no name"


def has_name(uid: int) -> bool:
    """Return whether the machine's list of users names a user."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def naming() -> tuple[str, ...]:
    """Return what gives a caller without a name one, put before a command that asks for it; () where it has one."""
    if has_name(os.geteuid()):
        return ()
    other = next((entry for entry in pwd.getpwall() if entry.pw_uid != 0), None)
    uid, gid = (other.pw_uid, other.pw_gid) if other else (NOBODY, NOBODY)
    return (sys.executable, "-ISc", _NAMED, str(uid), str(gid))


def place_for(env: str) -> Path:
    """Return a folder, not made yet, for what services of an environment have that run as another user.

    It is where everybody can pass: the folder of a run often is in somebody's home.
    """
    anybody = User("anybody", -1, -1)
    places = (tempfile.gettempdir(), *PLACES)
    base = next((place for place in map(Path, places) if anybody.can_pass(place)), Path(PLACES[-1]))
    return base / f"harness-{env}"
