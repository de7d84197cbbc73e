"""Tests that leave something, one for each kind of it, and the suite that they make."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

CONFTEST = """
import harness, pytest
web = harness.stack_fixture("s", scope="session")

@pytest.fixture(autouse=True)
def _web(web):
    pass
"""
HEAD = """
import functools, os, pathlib, signal, socket, subprocess, sys, threading, pytest
KEPT = []
OUT = pathlib.Path(__file__).parents[1] / "out"
thread = functools.partial(threading.Thread, target=threading.Event().wait, daemon=True)

def listen(host="127.0.0.1", family=socket.AF_INET):
    return socket.create_server((host, 0), family=family)
"""
SLEEP = "[sys.executable, '-c', 'import time; time.sleep(30)']"


@dataclass(frozen=True)
class Leak:
    """A test that leaves something.

    Attributes:
        name: of the test, without ``test_``.
        body: its statements.
        kind: what it leaves.
        thing: a part of the name of that.
        change: as in ``Left``.
        top: what its module needs.
    """

    name: str
    body: str
    kind: str
    thing: str
    change: str = "added"
    top: str = ""

    @property
    def text(self) -> str:
        """The test."""
        body = indent(dedent(self.body), "    ")
        return f"{dedent(self.top)}\ndef test_{self.name}({_parameters(self.body)}):\n{body}\n"


def _parameters(body: str) -> str:
    return "tmp_path" if "tmp_path" in body else ""


FORKS = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(30)"
DAEMON = f"""
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.run([sys.executable, "-c", {FORKS!r}], **quiet)
"""
LISTENS = (
    "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print('listens', flush=True); time.sleep(30)"
)
LISTENER = f"""
KEPT.append(subprocess.Popen([sys.executable, "-c", {LISTENS!r}], stdout=subprocess.PIPE))
KEPT[-1].stdout.readline()
"""
LEAKS = (
    Leak("child", f"KEPT.append(subprocess.Popen({SLEEP}))", "processes", "time.sleep(30)"),
    Leak("daemon", DAEMON, "processes", "import os, time"),
    Leak("port", "KEPT.append(listen())", "listening ports", "127.0.0.1:"),
    Leak("port_ipv6", "KEPT.append(listen('::1', socket.AF_INET6))", "listening ports", "[::1]:"),
    Leak("port_of_child", LISTENER, "listening ports", "127.0.0.1:"),
    Leak("thread", "thread(name='poller').start()", "threads", "poller"),
    Leak("timer", "t = threading.Timer(60, print); t.daemon = True; t.start()", "threads", "Thread-"),
    Leak("variable", "os.environ['LEFT_HERE'] = 'secret-value'", "environment", "LEFT_HERE"),
    Leak("variable_set", "os.environ['WAS'] = '2'", "environment", "WAS", "changed", "os.environ['WAS'] = '1'"),
    Leak("variable_removed", "del os.environ['GOES']", "environment", "GOES", "removed", "os.environ['GOES'] = '1'"),
    Leak("folder", "os.chdir(tmp_path)", "working directory", "current folder", "changed"),
    Leak("umask", "os.umask(0o077)", "umask", "umask", "changed"),
    Leak("handler", "signal.signal(signal.SIGUSR1, lambda *_: None)", "signal handlers", "SIGUSR1"),
    Leak("handler_ignored", "signal.signal(signal.SIGUSR2, signal.SIG_IGN)", "signal handlers", "SIGUSR2"),
    Leak("file", "OUT.joinpath('new.txt').write_text('x')", "files", "out/new.txt"),
    Leak("file_changed", "OUT.joinpath('old.txt').write_text('longer')", "files", "out/old.txt", "changed"),
    Leak("file_removed", "OUT.joinpath('gone.txt').unlink()", "files", "out/gone.txt", "removed"),
    Leak("folder_made", "OUT.joinpath('deep').mkdir()", "files", "out/deep/"),
)  # fmt: skip


def suite(leaks: tuple[Leak, ...]) -> str:
    """Return a module with a clean test before and after each leak."""
    clean = "\ndef test_clean_{}():\n    pass\n"
    tests = [f"{leak.text}{clean.format(f'after_{leak.name}')}" for leak in leaks]
    return f"{HEAD}{clean.format('first')}{''.join(tests)}"
