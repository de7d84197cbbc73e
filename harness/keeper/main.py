"""What a keeper's process does: it waits to be wanted, becomes the keeper of an environment, and keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from harness.artifacts import FULL
from harness.errors import HarnessError
from harness.keeper.keeper import Keeper
from harness.keeper.own_log import say
from harness.keeper.requests import ServiceRequests, StackRequests
from harness.keeper.server import Server
from harness.ownership import removal
from harness.ownership.identity import this_process

SWITCH_EVERY = 0.0005  # seconds that a thread, such as one that reads a log, may hold up answers
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

_libc = ctypes.CDLL(None, use_errno=True)


async def _serve(keeper: Keeper, listener: socket.socket) -> None:
    handlers = StackRequests(keeper).handlers() | ServiceRequests(keeper).handlers()
    await keeper.serve(Server(keeper.clients, handlers), listener)


def _become(header: dict[str, Any]) -> tuple[Keeper, socket.socket]:
    """Make the keeper of an environment, and the socket on which it listens.

    Raises:
        OSError: its files cannot be written, or its name is taken; then there is no ledger.
        HarnessError: there is no network for it.
    """
    with Path(header["folder"], removal.LOG).open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + header["socket"])
    keeper = Keeper(header)
    try:
        removal.mark_work_folder(keeper.folder, keeper.env)
    except OSError:
        keeper.intents.ledger.delete()
        raise
    listener.listen(64)
    return keeper, listener


def _why(error: OSError | HarnessError) -> str:
    """Return why no keeper could be made, for the run that wanted one."""
    if isinstance(error, HarnessError):
        return error.summary
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def main(argv: list[str]) -> int:
    """Become the keeper that ``argv`` describes.

    Args:
        argv: a JSON header, and two descriptors. From the first comes the rest of the header when it is to begin; its
            end without that means that no keeper is wanted. The second takes the acknowledgement.
    """
    header, begin, ack = json.loads(argv[0]), int(argv[1]), int(argv[2])
    sys.setswitchinterval(SWITCH_EVERY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    order = os.read(begin, select.PIPE_BUF)
    if not order:
        return 0
    header |= json.loads(order)
    os.close(begin)
    try:
        keeper, listener = _become(header)
    except (OSError, HarnessError) as error:
        with contextlib.suppress(OSError):
            traceback.print_exc()  # before it is told: whoever hears of it reads this
        with contextlib.suppress(BrokenPipeError):
            os.write(ack, json.dumps({"error": _why(error), "full": getattr(error, "errno", 0) in FULL}).encode())
        return 1
    owner = this_process()
    # A run that was killed meanwhile reads nothing; then nobody comes, and the keeper ends by itself.
    with contextlib.suppress(BrokenPipeError):
        os.write(ack, json.dumps({"pid": owner.pid, "start": owner.start}).encode())
    os.close(ack)
    say(f"keeping {keeper.env} on {keeper.addresses.network}.0/24")
    asyncio.run(_serve(keeper, listener))
    say("ended" + (f", left: {keeper.left}" if keeper.left else ", nothing left"))
    return 1 if keeper.left else 0
