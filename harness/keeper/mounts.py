"""Folders that one process alone sees at a path, such as ``/shared``: mounts in a namespace of its own.

Where such a path is not there, nothing is made in this machine's root: the process gets another root, in memory, that
has all that is in this one, and those paths (mount_namespaces(7), pivot_root(2)). All of it goes with the process.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # unshare(2)
BIND, RECURSIVE, UNBINDABLE, PRIVATE = 1 << 12, 1 << 14, 1 << 17, 1 << 18  # mount(2)
DETACH = 2  # umount2(2)
OLD = ".harness-old"

_LAUNCH = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from harness.keeper.mounts import enter
try:
    enter(json.loads(sys.argv[2]), sys.argv[3])
    os.execvp(sys.argv[4], sys.argv[4:])
except OSError as error:
    print("%s cannot be run: %s" % (sys.argv[4], error), file=sys.stderr)
    sys.exit(127)
"""

_libc = ctypes.CDLL(None, use_errno=True)


def are_allowed(scratch: Path) -> bool:
    """Return whether a process may have mounts of its own, by trying it in a child; this process has one thread."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        child = os.fork()
        if not child:
            try:
                enter({"/shared": folder, "/logs": folder}, "/")
                os._exit(0)
            except BaseException:  # noqa: BLE001 - whatever it is, this child must not go on as its parent
                os._exit(1)
        return os.waitpid(child, 0)[1] == 0


def enter(binds: Mapping[str, str], cwd: str) -> None:
    """Have this process, a child that has not called exec yet, see folders of its own at some paths.

    Args:
        binds: absolute path -> the folder that is to be there.
        cwd: where it then is.

    Raises:
        OSError: this user may not.
    """
    _unshare()
    _mount("", "/", RECURSIVE | PRIVATE)
    if all(os.path.isdir(path) for path in binds):  # noqa: PTH112 - between fork and exec the less, the better
        _bind("", binds)
    else:
        _take_another_root(next(iter(binds.values())), binds)
    os.chdir(cwd)


def launcher(binds: Mapping[str, str], cwd: str) -> tuple[str, ...]:
    """Return what makes a command see these folders as ``enter`` does, put before it."""
    place = str(Path(__file__).parents[2])
    return (sys.executable, "-I", "-c", _LAUNCH, place, json.dumps(dict(binds)), cwd)


def _bind(root: str, binds: Mapping[str, str]) -> None:
    for path, folder in binds.items():
        _mount(folder, root + path, BIND)


def _unshare() -> None:
    """Get a namespace of mounts; who may not gets one of users first, in which it is who it was."""
    if not _libc.unshare(NEW_MOUNTS):
        return
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(NEW_USER | NEW_MOUNTS), "a namespace")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(line)


def _take_another_root(root: str, binds: Mapping[str, str]) -> None:
    """Change to a root that has all that this one has, and ``binds``; it is mounted at ``root``, which it hides."""
    with os.scandir("/") as entries:
        below = list(entries)
    # They are opened before one of them is hidden.
    held = {path: os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path, folder in binds.items()}
    _mount("none", root, 0, kind="tmpfs", options="mode=755,size=1m")
    _mount("", root, UNBINDABLE)  # else each of the next would hold all before it
    for entry in below:
        place = f"{root}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)  # noqa: PTH115, PTH211
        elif entry.is_dir():
            os.mkdir(place)  # noqa: PTH102
            _mount(entry.path, place, BIND | RECURSIVE)
        elif entry.is_file():
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
            _mount(entry.path, place, BIND)
    for path in binds:
        os.makedirs(root + path, exist_ok=True)  # noqa: PTH103
    _bind(root, {path: f"/proc/self/fd/{folder}" for path, folder in held.items()})
    os.mkdir(f"{root}/{OLD}")  # noqa: PTH102
    _check(_libc.pivot_root(root.encode(), f"{root}/{OLD}".encode()), "another root")
    os.chdir("/")
    _check(_libc.umount2(f"/{OLD}".encode(), DETACH), "the old root")
    os.rmdir(f"/{OLD}")  # noqa: PTH106


def _mount(source: str, place: str, flags: int, *, kind: str = "", options: str = "") -> None:
    words = (word.encode() or None for word in (source, place, kind))
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), place)


def _check(result: int, about: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
