"""Commands in namespaces of their own: where no other environment of this user is, or where a disk is full."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TYPE_CHECKING

import pytest

from harness import procs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BUDGET = 10.0
# Brings loopback up, mounts small disks, and lives as long as its standard input is open.
HOLD = """
import ctypes, fcntl, socket, struct, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
libc = ctypes.CDLL(None, use_errno=True)
for folder, size in (word.rsplit("=", 1) for word in sys.argv[1:]):
    assert libc.mount(b"none", folder.encode(), b"tmpfs", 0, f"size={size},mode=700".encode()) == 0, ctypes.get_errno()
print("there", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def apart(cwd: Path, disks: Mapping[Path, str] | None = None) -> Iterator[tuple[str, ...]]:
    """Make namespaces; yield the words that run a command in them.

    Args:
        cwd: where commands are run.
        disks: empty folder -> size of a disk that is mounted there, such as ``64k``.
    """
    disks = disks or {}
    kinds = ["--net", *(["--mount"] if disks else [])]
    is_root = os.geteuid() == 0
    make = ["unshare", *([] if is_root else ["--user", "--map-root-user"]), *kinds]
    enter = [] if is_root else ["--user", "--preserve-credentials"]
    sizes = [f"{folder}={size}" for folder, size in disks.items()]
    said, says = os.pipe()
    holds, hold = os.pipe()
    with contextlib.ExitStack() as ends:
        ends.callback(os.close, said)
        process = procs.spawn([*make, sys.executable, "-c", HOLD, *sizes], cwd=cwd, stdin=holds, output=says)
        ends.callback(process.wait, BUDGET)
        ends.callback(os.close, hold)
        os.close(says)
        os.close(holds)
        ready, _, _ = select.select([said], [], [], BUDGET)
        answer = os.read(said, 1 << 16) if ready else b"nothing"
        if not answer.startswith(b"there"):
            pytest.skip(f"no namespaces can be made here: {answer.decode(errors='replace').strip()[-200:]}")
        yield ("nsenter", f"--target={process.pid}", *enter, *kinds, *(["--wd"] if disks else []), "--")
