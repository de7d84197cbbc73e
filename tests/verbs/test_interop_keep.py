"""One cell that is left standing when its verdict is known, and a shell in a role of it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from projects import run_in
from toy_matrix import HARNESS, TOML, Toy

from harness import procs
from harness.clock import Deadline, poll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from projects import Project

BUDGET = 60.0
CHATTY = """
import json, sys, threading
print(json.dumps({"ty": "ready"}), flush=True)
sys.stderr.write("before\\n")
for number in range(100_000):
    print("tick", number, flush=True)
    threading.Event().wait(0.05)  # as fast as somebody reads
"""
ALONE = TOML.replace('command = ["sh"', 'roles = ["driver"]\ncommand = ["sh"')


def _harness(toy: Toy, *words: str) -> procs.Finished:
    return run_in(toy.project, *HARNESS, *words, timeout=BUDGET)


def _listed(toy: Toy) -> list[dict[str, Any]]:
    done = _harness(toy, "ps", "--json")
    assert done.code == 0, done.stderr
    services: list[dict[str, Any]] = json.loads(done.stdout)["services"]
    return services


def _states(toy: Toy) -> dict[str, str]:
    return {each["service"]: each["state"] for each in _listed(toy)}


@pytest.fixture
def up(project: Project) -> Iterator[Callable[..., Toy]]:
    """Makes toy matrices; what is up in the end is taken down."""
    made: list[Toy] = []

    def make(*tests: str, toml: str = TOML) -> Toy:
        made.append(Toy(project, *tests, toml=toml))
        return made[-1]

    yield make
    for toy in made:
        assert _harness(toy, "down").code == 0


def test_a_kept_cell_stands_until_it_is_taken_down(up: Callable[..., Toy]) -> None:
    """Its roles must be listed, take commands in their folder with their variables, and be gone after ``down``."""
    toy = up()
    done = toy("run", "--cell", "plain/py/sh", "--keep")
    assert done.code == 0, done.stderr
    stack = re.findall(r"end it: harness down --stack (cell-\w+)", done.stderr)
    assert "driver: ended, exit code 0" in done.stderr
    assert _states(toy) == {"worker": "running", "driver": "exited"}
    for role in ("worker", "driver"):
        script = "echo $INTEROP_ROLE; pwd; echo seen >> $INTEROP_SHARED/by; cat $INTEROP_SHARED/by"
        ran = _harness(toy, "exec", "--service", f"{stack[0]}/{role}", "--", "sh", "-c", script)
        assert ran.code == 0, ran.stderr
        name, folder, *seen = ran.stdout.split()
        assert (name, folder) == (role, str(toy.root / ("py" if role == "worker" else "sh")))
    assert seen == ["seen", "seen"]
    assert "a role of a cell is run again by `interop.run`" in _harness(toy, "restart", "--service", "worker").stderr
    assert _harness(toy, "seed").code == 0
    pids = [each["pid"] for each in _listed(toy)]
    down = _harness(toy, "down", "--stack", stack[0])
    assert "is down, nothing is left" in down.stderr, down.stderr
    assert not [pid for pid in pids if procs.start_time_of(pid)]
    assert "Nothing is up here" in _harness(toy, "ps").stderr


def test_what_a_kept_role_goes_on_to_write_is_in_its_log(up: Callable[..., Toy]) -> None:
    """A role that writes must neither end because nobody hears it nor wait; ``harness logs`` must show it."""
    toy = up()
    toy.write("py/th-test.py", CHATTY)
    done = toy("run", "--cell", "plain/py/sh", "--keep")
    assert done.code == 0, done.stderr
    for _ in poll(Deadline.after(BUDGET)):
        shown = re.findall(r"tick (\d+)", _harness(toy, "logs", "--service", "worker").stdout)
        if shown:
            break
    assert _states(toy)["worker"] == "running"
    assert shown


def test_cells_run_beside_a_kept_one_have_their_own(up: Callable[..., Toy]) -> None:
    """A run in an environment with a kept cell must disturb nothing of it, also where it is of that very cell."""
    toy = up()
    assert toy("run", "--cell", "plain/py/sh", "--keep").code == 0
    kept = _listed(toy)
    assert toy.run()["totals"] == {"succeeded": 4}
    assert _listed(toy) == kept
    assert toy("run", "--cell", "plain/py/sh", "--keep").code == 0
    assert len({each["stack"] for each in _listed(toy)}) == 2
    peers = set()
    for each in _listed(toy):
        service = f"{each['stack']}/{each['service']}"
        ran = _harness(toy, "exec", "--service", service, "--", "sh", "-c", "echo $INTEROP_PEERS")
        peers |= set(re.findall(r"127[.\d]+", ran.stdout))
    assert len(peers) == 4


def test_a_kept_cell_that_failed_ends_the_command_as_ever(up: Callable[..., Toy]) -> None:
    """Its verdict, evidence and code must be those of a cell that is not kept, and judged again the same."""
    toy = up("fails")
    report = toy.run("--cell", "fails/py/sh", "--keep", code=1)
    assert report["totals"] == {"failed": 1}
    assert _states(toy) == {"worker": "running", "driver": "exited"}
    again = toy("judge", "--json")
    assert json.loads(again.stdout)["totals"] == {"failed": 1}


def test_a_cell_that_is_tried_again_is_kept_once(up: Callable[..., Toy]) -> None:
    """Of several attempts the last one must stand."""
    toy = up()
    toy.write("tests/fails.md", '{"timeout": "20s", "retries": 2}\n')
    assert toy("run", "--cell", "fails/py/sh", "--keep").code == 1
    assert _states(toy) == {"worker": "running", "driver": "exited"}
    assert len(_listed(toy)) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--keep",), "--keep leaves one cell standing; 0 were given by --cell, 1 was needed"),
        (("--keep", "--cell", "plain/py/sh", "--cell", "plain/sh/sh"), "2 were given by --cell"),
        (("--keep", "--cell", "plain/py/sh", "--resume", "latest"), "--keep runs its cell anew"),
        (("--shell", "worker"), "--shell leaves one cell standing"),
        (("--shell", "worker", "--cell", "plain/py/sh"), "--shell needs a terminal, and there is none"),
    ],
)
def test_what_cannot_stand_is_refused(project: Project, words: tuple[str, ...], says: str) -> None:
    """With 10, before anything is made."""
    toy = Toy(project)
    assert says in toy.refused("run", *words)
    assert not (toy.root / "logs").exists()


# -- a shell ---------------------------------------------------------------------------------------------------------


class Terminal:
    """A ``harness interop.run`` on a terminal of its own."""

    def __init__(self, toy: Toy, *words: str) -> None:
        environ = {**toy.project.environ, "SHELL": "/bin/sh", "TERM": "dumb", "PS1": "$ ", "CI": ""}
        argv = [sys.executable, *HARNESS, "interop.run", *words]
        self._code: int | None = None
        self.pid, self._master = pty.fork()
        if not self.pid:
            os.chdir(toy.root)
            os.execve(argv[0], argv, environ)  # noqa: S606 - nothing of procs gives a child a terminal of its own
        self.seen = ""

    def until(self, text: str) -> str:
        """Return all that was shown once something was."""
        deadline = Deadline.after(BUDGET)
        while not re.search(text, self.seen):
            assert not deadline.expired(), self.seen
            assert self._read(deadline.remaining()), self.seen
        return self.seen

    def _read(self, within: float) -> bool:
        if not select.select([self._master], [], [], within)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def types(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def ended(self) -> int:
        """Return the exit code, negative for a signal."""
        deadline = Deadline.after(BUDGET)
        while self._read(deadline.remaining()):
            pass
        return self.close()

    def close(self) -> int:
        """Hang up, and return the exit code of what has been run."""
        if self._code is None:
            os.close(self._master)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


@pytest.fixture
def on_terminal(up: Callable[..., Toy]) -> Iterator[Callable[..., Terminal]]:  # noqa: ARG001 - comes after it
    """Runs cells of a toy matrix on terminals, each of which is hung up in the end; ``up`` makes the matrix before."""
    made: list[Terminal] = []

    def run(toy: Toy, *words: str) -> Terminal:
        made.append(Terminal(toy, "--engine", "embedded", *words))
        return made[-1]

    yield run
    for terminal in made:
        terminal.close()


def test_a_shell_is_in_its_role_and_all_is_gone_after_it(
    up: Callable[..., Toy], on_terminal: Callable[..., Terminal]
) -> None:
    """It must have the role's variables, folder and /shared, its own Ctrl-C, and the roles must live until it ends."""
    toy = up("fails")
    terminal = on_terminal(toy, "--cell", "fails/py/sh", "--shell", "driver")
    assert "worker: running" in terminal.until("a shell in role driver")
    terminal.types("echo it is $INTEROP_ROLE in $PWD\n")
    terminal.until(f"it is driver in {toy.root / 'sh'}\r")
    terminal.types("\x03")
    terminal.until(r"\^C\s+[$#] ")
    terminal.types("touch $INTEROP_SHARED/here && echo made $((40 + 2))\n")
    terminal.until("made 42")
    terminal.types("exit 7\n")
    assert terminal.ended() == 1  # what the cell came to
    assert "Nothing is up here" in _harness(toy, "ps").stderr
    assert not toy.project.processes()


def test_a_shell_in_a_cell_that_is_kept_leaves_it(up: Callable[..., Toy], on_terminal: Callable[..., Terminal]) -> None:
    """With both flags the cell must stand after the shell."""
    toy = up()
    terminal = on_terminal(toy, "--cell", "plain/py/sh", "--keep", "--shell", "worker")
    terminal.until("a shell in role worker")
    terminal.types("exit\n")
    assert terminal.ended() == 0
    assert _states(toy) == {"worker": "running", "driver": "exited"}


def test_a_role_that_there_is_not_has_no_shell(up: Callable[..., Toy], on_terminal: Callable[..., Terminal]) -> None:
    """It must be told with those that there are, before anything is made."""
    toy = up()
    terminal = on_terminal(toy, "--cell", "plain/py/sh", "--shell", "wroker")
    assert terminal.ended() == 10
    assert "test plain has no such role; there are: worker, driver; did you mean 'worker'?" in terminal.seen
    assert not (toy.root / "logs").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_while_a_shell_is_open_leaves_nothing(
    up: Callable[..., Toy], on_terminal: Callable[..., Terminal], number: int
) -> None:
    """Neither the roles nor the shell may outlive it."""
    toy = up()
    terminal = on_terminal(toy, "--cell", "plain/py/sh", "--shell", "worker")
    terminal.until("a shell in role worker")
    terminal.types("echo ready $((40 + 2))\n")
    terminal.until("ready 42")
    assert any(line.startswith("/bin/sh") for line in toy.project.processes().values())
    os.kill(terminal.pid, number)
    assert terminal.ended() == -number
    assert not toy.project.wait_until_gone(BUDGET)
