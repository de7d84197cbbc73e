"""``--wait-to-attach-debugger``: subjects are held at their first instruction, and let go."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in, service, web

from harness import clock, procs
from harness.runs.debugging import with_debugpy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTION = "--wait-to-attach-debugger"
SUITE = """
import harness
s = harness.stack_fixture("s", scope="module")
def test_it(s):
    assert s.service("subject").state == "running"
"""
# Becomes the leader of a session whose terminal is its standard input, as a shell's children are.
ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
HELD = re.compile(r"service 'subject' is held at its first instruction: pid (\d+) \((.*)\)")
PROGRAM = """
#include <stdio.h>
#include <unistd.h>
int work(int n) { return 2 * n; }
int main(void) { printf("made %d\\n", work(21)); fflush(stdout); for (;;) pause(); }
"""


class Terminal:
    """pytest in a terminal of its own."""

    def __init__(self, project: Project, *argv: str) -> None:
        self.master, slave = pty.openpty()
        self.shown = ""
        command = [sys.executable, "-c", ON_TERMINAL, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "suite"]
        self.process = procs.spawn(
            [*command, *argv], env=project.environ, cwd=project.root, stdin=slave, output=slave, own_session=True
        )
        os.close(slave)

    def read_until(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Return the first match of ``pattern`` in what was shown."""
        for _ in clock.poll(clock.Deadline.after(seconds)):
            if found := re.search(pattern, self.shown):
                return found
            self._read()
        raise AssertionError(f"{pattern!r} was not shown:\n{self.shown}")

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.05)[0]:
            return True
        try:
            data = os.read(self.master, 4096)
        except OSError:  # nobody has it open any more
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def held(self) -> int:
        """Return the pid of the subject, which is held."""
        return int(self.read_until(HELD.pattern)[1])

    def press_enter(self) -> None:
        """Press Enter."""
        os.write(self.master, b"\n")

    def end(self, seconds: float = 60) -> int:
        """Return the exit code."""
        for _ in clock.poll(clock.Deadline.after(seconds)):
            self._read()
            if self.process.poll() is not None:
                break
        code = self.process.wait(1)
        while self._read() and select.select([self.master], [], [], 0)[0]:
            pass
        return code

    def close(self) -> None:
        """End what is left of it."""
        if self.process.poll() is None:
            procs.kill_group(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
        os.close(self.master)


class Desk:
    """A project whose stack ``s`` has a subject, and terminals to run its suite in."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.terminals: list[Terminal] = []
        (project.root / "suite").mkdir()
        (project.root / "suite" / "test_it.py").write_text(SUITE)

    def subject(self, *command: str, ready: str = "working", **more: Any) -> None:
        """Declare the subject: a command that writes ``ready`` when it is. Its stack would wait a second for it."""
        one = service(subject="subject", embedded={"command": list(command)}, ready=[{"log": ready}])
        timeouts = {"timeouts": {"up": "1s", "ready": "1s"}}
        self.project.stack("s", {"subject": {**one, **more}}, **{"x-harness": timeouts})

    def script(self, text: str, **more: Any) -> None:
        """Declare a shell script as the subject."""
        self.subject("/bin/sh", "-c", text, **more)

    def run(self, *argv: str) -> Terminal:
        """Run the suite."""
        self.terminals.append(Terminal(self.project, OPTION, *argv))
        return self.terminals[-1]


@pytest.fixture
def desk(project: Project) -> Iterator[Desk]:
    """A project with an empty suite."""
    made = Desk(project)
    yield made
    for terminal in made.terminals:
        terminal.close()


def test_enter_lets_a_held_subject_go(desk: Desk) -> None:
    """A subject must stand before its first instruction, deadlines be lifted meanwhile, and run on at Enter."""
    desk.script("echo working; exec sleep 60")
    terminal = desk.run()
    pid = terminal.held()
    assert f"gdb -p {pid} -ex 'handle SIGCONT SIGSTOP nostop noprint pass'" in terminal.read_until(r"gdb.*\n")[0]
    for _ in clock.poll(clock.Deadline.after(1.5)):  # longer than the stack would wait
        assert procs.state_of(pid) == procs.STATES["T"]
        assert os.path.basename(os.readlink(f"/proc/{pid}/exe")) in ("dash", "bash", "sh")  # noqa: PTH115, PTH119
    assert (desk.project.latest / "services" / "subject.log").read_bytes() == b""
    terminal.press_enter()
    assert terminal.end() == 0, terminal.shown
    assert "Enter was pressed: service 'subject' goes on" in terminal.shown
    assert "1 passed" in terminal.shown


@pytest.mark.skipif(not (shutil.which("gdb") and shutil.which("cc")), reason="needs gdb and a C compiler")
def test_gdb_stops_a_held_subject_in_its_first_function(desk: Desk, tmp_path: Path) -> None:
    """A debugger (gdb) must see the real program, stop where told with the arguments shown, and the suite pass."""
    source, program = tmp_path / "subject.c", tmp_path / "subject"
    source.write_text(PROGRAM)
    assert procs.run(["cc", "-g", "-O0", "-o", str(program), str(source)], timeout=60).code == 0
    desk.subject(str(program), ready="made 42")
    terminal = desk.run()
    pid = terminal.held()
    assert terminal.read_until(HELD.pattern)[2] == str(program)
    words = ["handle SIGCONT SIGSTOP nostop noprint pass", "break work", "continue", "detach"]
    gdb = procs.run(["gdb", "-batch", "-p", str(pid), *(w for word in words for w in ("-ex", word))], timeout=60)
    assert "work (n=21) at" in gdb.stdout, gdb
    assert terminal.end() == 0, terminal.shown
    assert re.search(r"gdb \(pid \d+\) has attached: service 'subject' goes on", terminal.shown)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_strace_lets_a_held_subject_go(desk: Desk, tmp_path: Path) -> None:
    """The tracer strace must let the subject go by attaching, and see what it does from its first instruction on."""
    desk.script("echo working; exec sleep 60")
    terminal = desk.run()
    trace = tmp_path / "trace"
    strace = procs.spawn(["strace", "-f", "-o", str(trace), "-p", str(terminal.held())])
    try:
        assert terminal.end() == 0, terminal.shown
        assert strace.wait(30) is not None
    finally:
        strace.kill()
        strace.wait(5)
    assert 'write(1, "working' in trace.read_text()
    assert "brk(NULL)" in trace.read_text()  # what the loader does first


def test_an_end_after_the_hold_keeps_its_exit_code(desk: Desk) -> None:
    """A subject that ends after it was let go must break its stack with its own exit code."""
    desk.script("echo going; exit 3")
    terminal = desk.run()
    terminal.held()
    terminal.press_enter()
    assert terminal.end() == 12, terminal.shown
    assert "Service 'subject' ended with exit code 3 before it was ready" in terminal.shown


def test_a_held_subject_that_is_killed_ends_the_wait(desk: Desk) -> None:
    """A subject that dies while it is held must end the wait at once, with its signal."""
    desk.script("echo working; exec sleep 60")
    terminal = desk.run()
    os.kill(terminal.held(), signal.SIGKILL)
    assert terminal.end() == 12, terminal.shown
    assert "Service 'subject' ended with signal 9 (SIGKILL) before it was ready" in terminal.shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 2), (signal.SIGKILL, -9)])
def test_nothing_is_left_of_a_run_that_ends_while_its_subject_is_held(desk: Desk, number: int, code: int) -> None:
    """However a run ends while its subject is held, the subject must be gone soon, whoever holds it."""
    desk.script("echo working; exec sleep 60")
    terminal = desk.run()
    pid = terminal.held()
    os.kill(terminal.process.pid, number)
    assert terminal.end() == code
    assert desk.project.wait_until_gone(30) == {}
    assert procs.start_time_of(pid) is None


@pytest.mark.skipif(not shutil.which("gdb"), reason="needs gdb")
def test_a_subject_that_a_debugger_has_stopped_is_removed(desk: Desk, tmp_path: Path) -> None:
    """Teardown must not wait for a debugger in which the subject stands; the debugger itself is left alone."""
    desk.script("echo working; while :; do sleep 0.1; done")
    (desk.project.root / "suite" / "test_it.py").write_text(
        SUITE + f"    import pathlib, time\n    while not pathlib.Path({str(tmp_path / 'stop')!r}).exists(): pass\n"
    )
    terminal = desk.run()
    pid = terminal.held()
    terminal.press_enter()
    terminal.read_until("goes on")
    with (tmp_path / "gdb.log").open("wb") as output:
        read_end, write_end = os.pipe()
        gdb = procs.spawn(["gdb", "-q", "-nx", "-p", str(pid)], stdin=read_end, output=output)
        os.close(read_end)
    try:
        for _ in clock.poll(clock.Deadline.after(20)):
            if procs.state_of(pid) == procs.STATES["t"] and b"(gdb)" in (tmp_path / "gdb.log").read_bytes():
                break
        (tmp_path / "stop").touch()
        assert terminal.end() == 0, terminal.shown
        assert gdb.poll() is None
        assert not procs.is_alive(pid, procs.start_time_of(pid) or 0)
    finally:
        os.close(write_end)
        gdb.kill()
        gdb.wait(5)


@pytest.mark.parametrize("words", [(), ("-n2",)])
def test_without_a_terminal_it_is_a_usage_error(desk: Desk, words: tuple[str, ...]) -> None:
    """Without a terminal, and under -n, the option must end the run with exit code 10 before anything starts."""
    desk.script("echo working; exec sleep 60")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "suite", OPTION, *words]
    done = run_in(desk.project, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", *argv)
    assert done.code == 10, done.stdout
    assert ("does not go with -n" if words else "needs a terminal") in done.stdout + done.stderr
    assert not (desk.project.root / "logs").exists()


def test_it_warns_when_there_is_nothing_to_hold(desk: Desk) -> None:
    """Where no subject is a local process, a warning must say so and the run go on."""
    desk.project.stack("s", {"subject": web()})
    terminal = desk.run()
    assert terminal.end() == 0, terminal.shown
    assert f"warning: {OPTION} holds nothing: no subject of stack 's' runs as a local process" in terminal.shown


def test_a_restarted_subject_is_held_again(desk: Desk) -> None:
    """A subject that a test starts again must be held again."""
    desk.script("echo working; exec sleep 60")
    (desk.project.root / "suite" / "test_it.py").write_text(SUITE + "    s.service('subject').restart()\n")
    terminal = desk.run()
    first = terminal.held()
    terminal.press_enter()
    terminal.read_until("goes on")
    terminal.shown = ""
    assert terminal.held() != first
    terminal.press_enter()
    assert terminal.end() == 0, terminal.shown


# -- debugpy -----------------------------------------------------------------------------------------------------

needs_debugpy = pytest.mark.skipif(not importlib.util.find_spec("debugpy"), reason="needs debugpy")


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["python3", "-m", "forwarder", "-c"], ["python3", "LISTEN", "-m", "forwarder", "-c"]),
        (["/x/python3.11", "-u", "-X", "dev", "a.py"], ["/x/python3.11", "-u", "-X", "dev", "LISTEN", "a.py"]),
        (["python", "-c", "print()"], ["python", "LISTEN", "-c", "print()"]),
        (["python", "-Xdev", "-Wmodule", "a.py"], ["python", "-Xdev", "-Wmodule", "LISTEN", "a.py"]),
        (["python", "-um", "x"], []),
        (["python"], []),
        (["python", "-"], []),
        (["pythonic", "a.py"], []),
        ([], []),
    ],
)
def test_a_python_command_line_is_put_under_debugpy(argv: list[str], wanted: list[str]) -> None:
    """The interpreter's own options must stay before debugpy, the program and its words after it."""
    listen = ["-X", "frozen_modules=off", "-m", "debugpy", "--listen", "127.1.2.3:5678", "--wait-for-client"]
    expected = [word for item in wanted for word in (listen if item == "LISTEN" else [item])]
    assert list(with_debugpy(argv, "127.1.2.3", 5678)) == expected


class Client:
    """As much of a debugger of Python as lets a program run."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.stream = self.socket.makefile("rb")
        self.number = 0

    def send(self, command: str, **arguments: Any) -> None:
        """Send a request."""
        self.number += 1
        body = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": arguments}).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def await_event(self, name: str) -> None:
        """Read until an event has come."""
        while True:
            size = int(self.stream.readline().rpartition(b":")[2])
            self.stream.readline()
            if json.loads(self.stream.read(size)).get("event") == name:
                return


def debugpy_of(terminal: Terminal) -> tuple[str, int]:
    """Return where debugpy listens for a client, as the line for editors says."""
    connect = json.loads(terminal.read_until(r'\{"name": "subject".*\}')[0])["connect"]
    terminal.read_until("when Enter is pressed")
    for _ in clock.poll(clock.Deadline.after(15)):
        listening = f":{connect['port']:04X} 00000000:0000 0A"
        with open("/proc/net/tcp") as table:  # noqa: PTH123
            if listening in table.read():
                break
    return connect["host"], connect["port"]


PYTHON = ("python", "-c", "import signal; print('working', flush=True); signal.pause()")


@needs_debugpy
def test_a_client_of_debugpy_lets_a_python_subject_go(desk: Desk) -> None:
    """A Python subject must be held by debugpy on an address of its own, and run when a client is connected."""
    desk.subject(*PYTHON)
    terminal = desk.run()
    host, port = debugpy_of(terminal)
    assert host.startswith("127.")
    assert host != "127.0.0.1"
    client = Client(host, port)
    with client.socket, client.stream:
        client.send("initialize", adapterID="test")
        client.send("attach", justMyCode=True)
        client.await_event("initialized")
        client.send("configurationDone")
        assert terminal.end(30) == 0, terminal.shown
    assert "a client of debugpy has attached: service 'subject' goes on" in terminal.shown


@needs_debugpy
def test_enter_lets_a_python_subject_go_without_debugpy(desk: Desk) -> None:
    """At Enter, a Python subject must run as it would without a debugger."""
    desk.subject(*PYTHON)
    terminal = desk.run()
    debugpy_of(terminal)
    terminal.press_enter()
    assert terminal.end(30) == 0, terminal.shown
    assert "Enter was pressed: service 'subject' goes on" in terminal.shown
