"""Commands that a Compose file has run in a container after its start and before its end ("post_start", "pre_stop")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.procs import describe_exit

if TYPE_CHECKING:
    from harness.keeper.calls import Calls
    from harness.keeper.messages import Hook

_HEADER = 8  # "Attach to a container", stream format: stream, three zeros, length as 32 bits


async def run(calls: Calls, container: str, hook: Hook, within: float) -> None:
    """Run a hook in a container for at most ``within`` seconds.

    Raises:
        HarnessError: it could not be run, failed or did not end.
    """
    wanted = {
        "Cmd": hook["command"],
        "Env": hook["environment"],
        "User": hook["user"],
        "WorkingDir": hook["working_dir"],
        "Privileged": hook["privileged"],
        "AttachStdout": True,
        "AttachStderr": True,
    }
    told = f"its hook {hook['command'][0]!r}"  # its other words may hold a password
    made = await calls.ask("POST", f"/containers/{container}/exec", wanted)
    try:
        output = await asyncio.wait_for(calls.output(made["Id"], within), within)
    except TimeoutError as error:
        raise HarnessError(f"{told} did not end in {within:g} s") from error
    code = (await calls.ask("GET", f"/exec/{made['Id']}/json"))["ExitCode"]
    if code != 0:
        lines = _plain(output).decode(errors="replace").strip().splitlines()
        raise HarnessError(": ".join([f"{told} ended with {describe_exit(code)}", *lines[-1:]]))


def _plain(stream: bytes) -> bytes:
    """Return what was written, without the headers before each piece of it."""
    pieces, at = [], 0
    while at + _HEADER <= len(stream):
        end = at + _HEADER + int.from_bytes(stream[at + 4 : at + _HEADER], "big")
        pieces.append(stream[at + _HEADER : end])
        at = end
    return b"".join(pieces)
