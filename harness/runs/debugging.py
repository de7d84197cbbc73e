"""``--wait-to-attach-debugger``: a subject is held at its first instruction until a debugger or its user lets it go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.clock import LIFTED, Deadline, poll
from harness.engine.process.host import start
from harness.errors import ConfigError
from harness.keeper.messages import Act

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.engine import ProcessPlan
    from harness.engine.driver import Place
    from harness.keeper.messages import ServiceFacts

DEBUGPY_PORT = 5678
ASK_BUDGET = 10.0
LOOK_EVERY = 0.1  # seconds after which somebody who has attached, or pressed Enter, is noticed
_PYTHON = re.compile(r"python(\d(\.\d+)?)?")
_ESTABLISHED = "01"
_ENTER = "\n"


def find_terminal() -> str:
    """Return the path of the terminal on which the user can press Enter.

    Raises:
        ConfigError: there is none.
    """
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        return "/dev/tty"
    # A session of its own has no controlling terminal, and still may write to one.
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            return os.ttyname(descriptor)
    raise ConfigError(
        "--wait-to-attach-debugger needs a terminal on which Enter can be pressed, and there is none",
        hint="run it from a terminal, without -n",
    )


class Debugger:
    """Holds subjects and lets them go.

    Args:
        terminal: path of the terminal on which Enter lets one go.
        say: takes lines for the user.
    """

    def __init__(self, terminal: str, say: Callable[[str], None]) -> None:
        self.terminal = terminal
        self.say = say

    def start(self, plan: ProcessPlan, place: Place, stopped: Callable[[], bool]) -> ServiceFacts:
        """Start a subject, held; return the keeper's facts about it once it goes on or ``stopped`` says to give up."""
        address = _debugpy_address(plan)
        if address is None:
            facts = start(plan, place, hold=True)
            self.let_go(facts, place, stopped)
            return facts
        host, port = address
        facts = start(replace(plan, argv=with_debugpy(plan.argv, host, port)), place)
        self.say(
            f"service {plan.service!r} is held by debugpy before its first line: pid {facts['pid']} ({plan.argv[0]})"
        )
        connect = {"host": host, "port": port}
        how = {"name": plan.service, "type": "debugpy", "request": "attach", "connect": connect}
        self.say(f"  {json.dumps(how)}")
        self._say_how()
        if self._wait(facts, place, lambda: "a client of debugpy" if _connected(host, port) else "", stopped) != _ENTER:
            return facts
        # Without a client it would never go on. It has done nothing yet: once more, as it is without debugpy.
        place.link.ask(Act(stack=plan.stack, service=plan.service, act="kill"))
        place.lives.forget(plan.stack, plan.service)
        return start(plan, place)

    def let_go(self, facts: ServiceFacts, place: Place, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait until a debugger has attached to a held process or Enter was pressed, then have it run."""
        pid, service = facts["pid"], facts["service"]
        if facts["state"] != "held":
            return
        self.say(f"service {service!r} is held at its first instruction: pid {pid} ({_program(pid)})")
        self.say(f"  gdb -p {pid} -ex 'handle SIGCONT SIGSTOP nostop noprint pass'")
        self._say_how()
        if self._wait(facts, place, lambda: _tracer(pid), stopped):
            place.link.ask(Act(stack=facts["stack"], service=service, act="go"))

    def _say_how(self) -> None:
        self.say("  it goes on when a debugger has attached, or when Enter is pressed here; deadlines are lifted")

    def _wait(self, facts: ServiceFacts, place: Place, who: Callable[[], str], stopped: Callable[[], bool]) -> str:
        """Return what ended the wait, "" when the service has ended or the wait was given up."""
        with contextlib.ExitStack() as stack:
            terminal = -1
            with suppress(OSError):  # it has gone: a debugger may still come
                terminal = os.open(self.terminal, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
                stack.callback(os.close, terminal)
            for _ in poll(Deadline.after(LIFTED), longest=LOOK_EVERY):
                if stopped() or place.lives.exit_of(facts["stack"], facts["service"]):
                    return ""
                cause = who() or (_ENTER if _enter_pressed(terminal) else "")
                if cause:
                    reason = "Enter was pressed" if cause == _ENTER else f"{cause} has attached"
                    self.say(f"{reason}: service {facts['service']!r} goes on")
                    return cause
        return ""


def _enter_pressed(terminal: int) -> bool:
    if terminal < 0 or not select.select([terminal], [], [], 0)[0]:
        return False
    with suppress(OSError):
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return False  # in the background of its shell, where reading would stop this process
    with suppress(OSError):
        return b"\n" in os.read(terminal, 4096)
    return False


def _status(pid: int, key: str) -> str:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return value.strip()
    return ""


def _tracer(pid: int) -> str:
    """Return which debugger is attached to a process, "" when none is."""
    tracer = int(_status(pid, "TracerPid") or 0)
    return f"{_status(tracer, 'Name') or 'a debugger'} (pid {tracer})" if tracer else ""


def _program(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return procs.command_of(pid)


# -- debugpy -----------------------------------------------------------------------------------------------------


def with_debugpy(argv: Sequence[str], host: str, port: int) -> tuple[str, ...]:
    """Return a Python command line under debugpy, () when it is none that debugpy can run."""
    if not argv or not _PYTHON.fullmatch(Path(argv[0]).name):
        return ()
    at = 1
    while at < len(argv) and argv[at].startswith("-") and argv[at] not in ("-m", "-c", "-"):
        if argv[at][1:2] != "-" and set(argv[at][1:]) & set("mc") and argv[at][:2] not in ("-X", "-W"):
            return ()  # such as -um: it takes the next word
        at += 2 if argv[at] in ("-X", "-W") else 1
    if at >= len(argv) or argv[at] == "-":
        return ()
    listen = ("-X", "frozen_modules=off", "-m", "debugpy", "--listen", f"{host}:{port}", "--wait-for-client")
    return (argv[0], *argv[1:at], *listen, *argv[at:])


def _debugpy_address(plan: ProcessPlan) -> tuple[str, int] | None:
    """Return where debugpy can listen for a subject, None when it is not Python or has no debugpy."""
    if not plan.loopback or not with_debugpy(plan.argv, "", 0):
        return None
    with suppress(OSError):
        asked = procs.run([plan.argv[0], "-c", "import debugpy"], timeout=ASK_BUDGET, env=plan.env, cwd=plan.cwd)
        if asked.code == 0:
            return plan.loopback, _free_port(plan.loopback)
    return None


def _free_port(host: str) -> int:
    for port in (DEBUGPY_PORT, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    return DEBUGPY_PORT


def _connected(host: str, port: int) -> bool:
    """Return whether somebody is connected to an address of this machine, without connecting to it."""
    wanted = f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == wanted and row[3] == _ESTABLISHED for row in rows)
