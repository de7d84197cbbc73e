"""Commands that a Compose file has run in a container after its start and before its end ("post_start", "pre_stop")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from harness.clock import Deadline, poll
from harness.errors import HarnessError
from harness.procs import describe_exit

if TYPE_CHECKING:
    from harness.daemon import Api
    from harness.keeper.calls import Calls
    from harness.keeper.messages import Hook

_HEADER = 8  # "Attach to a container", stream format: stream, three zeros, length as 32 bits
_CODE_BUDGET = 5.0  # seconds between the end of a hook's output and its exit code


async def run(calls: Calls, container: str, hook: Hook, within: float) -> None:
    """Run a hook in a container for at most ``within`` seconds.

    Raises:
        HarnessError: it could not be run, failed or did not end, or the engine does not know how.
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
    code = await asyncio.to_thread(_exit_code, calls.api, str(made["Id"]))
    if code is None:
        raise HarnessError(f"{told} ended its output, and the engine does not know its exit code")
    if code != 0:
        lines = _plain(output).decode(errors="replace").strip().splitlines()
        raise HarnessError(": ".join([f"{told} ended with {describe_exit(code)}", *lines[-1:]]))


def _exit_code(api: Api, command: str) -> int | None:
    """Return how a command ended whose output has; engines know it a little later. None where it is not known then."""
    for _ in poll(Deadline.after(_CODE_BUDGET)):
        facts: dict[str, Any] = api.request("GET", f"/exec/{command}/json")
        if not facts.get("Running"):
            return None if facts["ExitCode"] is None else int(facts["ExitCode"])
    return None


def _plain(stream: bytes) -> bytes:
    """Return what was written, without the headers before each piece of it."""
    pieces, at = [], 0
    while at + _HEADER <= len(stream):
        end = at + _HEADER + int.from_bytes(stream[at + 4 : at + _HEADER], "big")
        pieces.append(stream[at + _HEADER : end])
        at = end
    return b"".join(pieces)
