"""A peer that misbehaves in the way that it is told: ``peer.py TEST ROLE``, with ``INTEROP_PARAM_BEHAVIOUR``.

The test says whose part it is (``driver-misbehaves``); the others behave. It speaks the test control protocol by hand,
to be able to break it anywhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

SHARED = Path(os.environ.get("INTEROP_SHARED", "/shared"))
DID = SHARED / "did"  # is there when the one who misbehaves has done so and goes on
MIB = 1024 * 1024
FLOOD = int(os.environ.get("PEER_FLOOD", str(1000 * MIB)))
UNSUPPORTED = 127


def write(text: str | bytes) -> None:
    """Write to standard output, all of it and at once."""
    data = memoryview(text.encode() if isinstance(text, str) else text)
    while data:
        data = data[os.write(1, data) :]


def send(ty: str, **info: object) -> None:
    """Send an event."""
    write(json.dumps({"id": 1, "ty": ty, "in": info}) + "\n")


def pause(seconds: float) -> None:
    """Do nothing for a while."""
    select.select([], [], [], seconds)


def hang() -> NoReturn:
    """Do nothing until something ends us."""
    while True:
        pause(3600)


def die() -> NoReturn:
    """Do what the kernel does not allow: a signal that we sent would not end process 1 of a container."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)
    hang()


# ---- what is done in place of "ready"


def no_ready() -> None:
    """Never be ready."""
    hang()


def exit_3_before_ready() -> None:
    """End before being ready."""
    sys.exit(3)


def exit_0_before_ready() -> None:
    """End before being ready, as if all were well."""
    sys.exit(0)


def crash_before_ready() -> None:
    """Be ended by a signal before being ready."""
    die()


def done_before_ready() -> None:
    """Be done before being ready."""
    send("done")
    send("ready")


BEFORE: dict[str, Callable[[], None]] = {
    "no-ready": no_ready,
    "exit-3-before-ready": exit_3_before_ready,
    "exit-0-before-ready": exit_0_before_ready,
    "crash-before-ready": crash_before_ready,
    "done-before-ready": done_before_ready,
}


# ---- what is done after "ready"


def exit_0() -> None:
    """End, without being done."""
    DID.touch()
    sys.exit(0)


def exit_3() -> None:
    """End with a code that says that something is wrong."""
    sys.exit(3)


def exit_3_after_done() -> None:
    """Be done, and end with a code that says that something is wrong."""
    send("done")
    sys.exit(3)


def exit_127() -> None:
    """End as if the test were not known, too late for that."""
    sys.exit(UNSUPPORTED)


def crash() -> None:
    """Be ended by a signal."""
    die()


def malformed() -> None:
    """Write an event that is no JSON."""
    write('{"id": 2, "ty": "log\n')


def not_ours() -> None:
    """Send an event that only the runner makes."""
    send("status", success=True)


def line_of_1_mib() -> None:
    """Write a line of 1 MiB, and an event that is nearly as long."""
    write("x" * MIB + "\n")
    send("endpoint.error", endpoint_id=1, error="y" * (MIB - 200))


def second_ready() -> None:
    """Be ready twice."""
    send("ready")


def mismatch() -> None:
    """Say another value than the others."""
    send("assert", assert_id="what", value="another")


def failed_check() -> None:
    """Say that something does not hold."""
    send("check", check_id="holds", ok=False, why="it does not")


def ignores_term() -> None:
    """Do not end when asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def daemon() -> None:
    """Leave a process behind that has our standard output and another session."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        hang()


def flood() -> None:
    """Write much more than anybody wants to keep."""
    lines = b"0123456789abcde " * 6 + b"\n"
    lines *= MIB // len(lines)
    for _ in range(FLOOD // len(lines)):
        write(lines)


def roots_file() -> None:
    """Leave files in /shared that nobody else may read or remove."""
    folder = SHARED / "mine"
    folder.mkdir()
    (folder / "file").write_text("mine")
    (folder / "file").chmod(0)
    folder.chmod(0o500)


def done() -> None:
    """Be done although that is not ours to say."""
    send("done")


AFTER: dict[str, Callable[[], None]] = {
    "exit-0": exit_0,
    "exit-3": exit_3,
    "exit-3-after-done": exit_3_after_done,
    "exit-127-after-ready": exit_127,
    "crash": crash,
    "hang": hang,
    "malformed-json": malformed,
    "runners-event": not_ours,
    "line-of-1-mib": line_of_1_mib,
    "second-ready": second_ready,
    "assert-mismatch": mismatch,
    "check-failed": failed_check,
    "ignores-term": ignores_term,
    "daemon": daemon,
    "flood": flood,
    "roots-file": roots_file,
    "done": done,
}
ENDS = ("exit-0", "exit-3", "exit-127-after-ready", "crash")  # of one that is not the driver, who then waits


def be_done(behaviour: str) -> NoReturn:
    """Be done as a driver."""
    if behaviour == "unterminated-done":
        write('{"id": 3, "ty": "done", "in": {}}')
    else:
        send("done")
    sys.exit(0)


def play(behaviour: str, *, misbehaves: bool, driver: bool) -> NoReturn:
    """Take a part, and misbehave in it where it is ours to do so."""
    if misbehaves and behaviour in BEFORE:
        BEFORE[behaviour]()
    else:
        send("assert", assert_id="what", value="this")
        send("ready")
        if misbehaves and behaviour in AFTER:
            AFTER[behaviour]()
        if misbehaves:
            DID.touch()
    if not driver:
        hang()
    if not misbehaves:
        while not DID.exists():
            pause(0.05)
        pause(0.5)  # what the other has written is to be seen before we are done
    be_done(behaviour)


def main(argv: list[str]) -> NoReturn:
    """Take a part in a test."""
    test, role = argv
    behaviour = os.environ.get("INTEROP_PARAM_BEHAVIOUR", "")
    if test == "unsupported" and role == "worker":
        play("", misbehaves=False, driver=False)
    if test != "unsupported" and os.environ.get("PEER_LIES"):
        play("", misbehaves=True, driver=role == "driver")
    if test.endswith("-misbehaves"):
        play(behaviour, misbehaves=test == f"{role}-misbehaves", driver=role == "driver")
    if test.endswith("-floods"):
        play("flood", misbehaves=test == f"{role}-floods", driver=role == "driver")
    if test.startswith("a-name-of-"):
        play("", misbehaves=role == "worker", driver=role == "driver")
    print(f"cannot be {role} in {test}", file=sys.stderr)
    sys.exit(UNSUPPORTED)


if __name__ == "__main__":
    main(sys.argv[1:])
