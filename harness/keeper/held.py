"""Holding a process at its first instruction, until a debugger has come.

The process asks to be traced and replaces itself by the real program; the kernel then stops it before that program's
first instruction. The keeper, its parent, lets go of it in a way that leaves it stopped, as by SIGSTOP: any debugger
can attach, and SIGCONT lets it run. Nothing of ours is in it any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

from harness import clock

PTRACE_TRACEME, PTRACE_DETACH = 0, 17  # ptrace(2)
PR_SET_PDEATHSIG, PR_SET_PTRACER = 1, 0x59616D61  # prctl(2)
BUDGET = 10.0

_libc = ctypes.CDLL(None, use_errno=True)

# PR_SET_PTRACER lets any debugger of this user attach where Yama would let none.
_LAUNCH = f"""\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl({PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}, 0, 0, 0)
libc.prctl({PR_SET_PTRACER}, ctypes.c_ulong(-1), 0, 0, 0)
if libc.ptrace({PTRACE_TRACEME}, 0, 0, 0):
    sys.exit("it cannot be held for a debugger: ptrace: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
"""
LAUNCHER = (sys.executable, "-ISc", _LAUNCH)
"""Put before a command, it makes a process that can be held."""


def hold(pid: int) -> bool:
    """Hold a child that was started by ``LAUNCHER``, in the same thread; return whether it is held.

    It is not when it has ended instead; its end is left for the caller to collect.
    """
    stopped = False
    for _ in clock.poll(clock.Deadline.after(BUDGET)):
        child = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if child is None:
            continue
        stopped = child.si_code in (os.CLD_TRAPPED, os.CLD_STOPPED)
        break
    if not stopped:
        return False
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
    ptrace = _libc.ptrace
    ptrace.argtypes = [ctypes.c_long] * 4
    if ptrace(PTRACE_DETACH, pid, 0, int(signal.SIGSTOP)):
        return False
    for _ in clock.poll(clock.Deadline.after(BUDGET)):
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG):
                return True
    return False
