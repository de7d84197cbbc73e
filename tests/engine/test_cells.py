"""A cell's place as local processes: what is told of its roles, and that nothing of it is left."""

from __future__ import annotations

import queue
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import containers
import pytest

from harness import clock, procs
from harness.engine.choice import DRIVERS
from harness.engine.compose.cells import ContainerSite
from harness.errors import HarnessError
from harness.keeper.messages import Start
from harness.matrix.site import Heard, Part
from harness.runs.opening import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from projects import Project

    from harness.keeper.messages import Event, Request
    from harness.matrix.site import Site, Sites
    from harness.runs.environment import Environment

BUDGET = 20.0
KILLED = (-9, 137)


class Cell:
    """A site, and all that was heard from it."""

    def __init__(self, place: Ground, name: str) -> None:
        self.folder = folder = place.environment.folder / "cells" / name
        self.image = place.image
        folder.mkdir(parents=True, exist_ok=True)
        self.heard: list[Heard] = []
        self._queue: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.site: Site = place.sites.site(name, folder, self._queue.put)

    def create(self, **scripts: str) -> Cell:
        """Create roles that run Python programs."""
        python = "python3" if self.image else sys.executable
        argv = {role: (python, "-uc", script) for role, script in scripts.items()}
        self.site.create([Part(role, "x", words, image=self.image) for role, words in argv.items()])
        return self

    def until(self, what: str, role: str = "", text: bytes = b"") -> Heard:
        """Return when something was heard."""
        deadline = clock.Deadline.after(BUDGET)
        while True:
            heard = self._queue.get(timeout=deadline.remaining())
            self.heard.append(heard)
            said = text in self.output(heard.role) if text else True
            if heard.what == what and role in ("", heard.role) and said:
                return heard

    def output(self, role: str, *, is_error: bool = False) -> bytes:
        """Return what a role was heard to write."""
        return b"".join(piece.data for piece in self.heard if piece.role == role and piece.is_error == is_error)


@dataclass(frozen=True)
class Ground:
    """An environment without any stack, and where cells take place in it."""

    project: Project
    environment: Environment
    sites: Sites
    image: str = ""


@pytest.fixture(params=["embedded", "compose"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The ground of one engine. When it is given back nothing may be left."""
    image = ""
    if request.param == "compose":
        dock = request.getfixturevalue("dock")
        project, image = dock, containers.image_id(dock)
    else:
        project = request.getfixturevalue("project")
    driver = DRIVERS[request.param](project.settings(), None)
    environment = create(project.settings(), driver, "of a test")
    yield Ground(project, environment, driver.cells(environment), image)
    assert environment.close() == []


@pytest.fixture
def cell(ground: Ground) -> Iterator[Cell]:
    made = Cell(ground, "t")
    yield made
    assert made.site.remove() == ()


def test_both_streams_are_heard_before_the_end(cell: Cell) -> None:
    """What a role writes must be told by stream, all of it, also a line without an end, before its exit code."""
    cell.create(driver="import sys; print('one'); sys.stderr.write('two'); sys.stdout.write('three'); sys.exit(3)")
    cell.site.start("driver")
    ended = cell.until("exited")
    assert (ended.role, ended.code) == ("driver", 3)
    assert cell.output("driver") == b"one\nthree"
    assert cell.output("driver", is_error=True) == b"two"


def test_a_role_that_ends_before_its_start_was_answered_is_heard(project: Project, tmp_path: Path) -> None:
    """What a role wrote must be told before its end, also where it has ended before this process went on."""
    driver = DRIVERS["embedded"](project.settings(), None)
    environment = create(project.settings(), driver, "of a test")
    site = driver.cells(environment).site("t", tmp_path, (heard := queue.SimpleQueue[Heard]()).put)
    ask, tell, has_ended = environment.link.ask, environment.divert, threading.Event()

    def divert(stack: str, hear: Callable[[Event | None], None] | None) -> None:
        def told(event: Event | None) -> None:
            assert hear
            hear(event)
            has_ended.set()

        tell(stack, told if hear else None)

    def late(request: Request[Any], **more: Any) -> Any:
        answer = ask(request, **more)
        assert not isinstance(request, Start) or has_ended.wait(BUDGET)
        return answer

    environment.divert, environment.link.ask = divert, late  # type: ignore[method-assign]
    site.create([Part("driver", "x", ("echo", "done"))])
    site.start("driver")
    told = [heard.get(timeout=BUDGET) for _ in range(2)]
    assert [(each.what, each.data) for each in told] == [("output", b"done\n"), ("exited", b"")]
    assert site.remove() == ()
    assert environment.close() == []


def test_output_is_told_while_a_role_runs(cell: Cell) -> None:
    """A line must be told when it is written, and what a role is told must reach it."""
    cell.create(worker="print('ready'); print('heard', input()); input()")
    cell.site.start("worker")
    cell.until("output", "worker", b"ready\n")
    cell.site.tell("worker", b'{"ty":"ready"}\n')
    cell.until("output", "worker", b'heard {"ty":"ready"}\n')


def test_a_role_that_reads_nothing_keeps_nobody_waiting(cell: Cell) -> None:
    """What is told to a role that does not read it must be dropped, and what it reads must be whole lines."""
    lines = "import sys; print('up'); sys.stdin.readline(); print('on'); rest = sys.stdin.read()"
    cell.create(worker=lines)
    cell.site.start("worker")
    cell.until("output", "worker", b"up\n")
    for _ in range(2000):
        cell.site.tell("worker", b"x" * 1000 + b"\n")
    cell.until("output", "worker", b"on\n")
    cell.site.kill(["worker"])
    assert cell.until("exited").code in KILLED


def test_term_is_asked_and_kill_is_not(cell: Cell) -> None:
    """A role must get TERM, may heed it, and must be gone after KILL whatever it does."""
    cell.create(
        worker="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); signal.pause()",
        driver="import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('up'); signal.pause()",
    )
    for role in ("worker", "driver"):
        cell.site.start(role)
        cell.until("output", role, b"up\n")
    cell.site.terminate(["worker", "driver"])
    ended = cell.until("exited")
    assert (ended.role, ended.code) == ("driver", 5)
    cell.site.kill(["worker"])
    assert cell.until("exited", "worker").code in KILLED


DAEMON = """
import os, signal
if os.fork() == 0:
    os.setsid()
    print("daemon")
    signal.pause()
print("over")
"""


def test_a_daemon_delays_no_end_and_is_ended(ground: Ground, cell: Cell) -> None:
    """The end of a role whose daemon holds its streams must be told soon, and the daemon must be gone after KILL."""
    cell.create(driver=DAEMON)
    cell.site.start("driver")
    began = clock.now()
    cell.until("exited")
    assert clock.now() - began < 3
    before = len(ground.project.processes())
    cell.site.kill(["driver"])
    assert len(ground.project.processes()) == before - (not ground.image)


def test_roles_share_a_folder_that_no_other_cell_has(ground: Ground, cell: Cell) -> None:
    """Roles of a cell must see each other's files in INTEROP_SHARED; another cell, of the same time, must not."""
    write = "import os; open(os.environ['INTEROP_SHARED'] + '/id', 'w').write('me'); print('wrote')"
    read = "import os; print(os.listdir(os.environ['INTEROP_SHARED']), '.')"
    cell.create(worker=write, driver=read)
    for role in ("worker", "driver"):
        cell.site.start(role)
        cell.until("exited", role)
    assert cell.output("driver") == b"['id'] .\n"
    other = Cell(ground, "u").create(driver=read)
    other.site.start("driver")
    other.until("exited")
    assert other.output("driver") == b"[] .\n"
    assert other.site.remove() == ()


def test_shared_and_logs_are_at_their_paths(ground: Ground, cell: Cell) -> None:
    """Where this user may have mounts, /shared and /logs must be the cell's, and nothing else may look different."""
    if not ground.sites.mounts:
        pytest.skip("this user may have no mounts of its own here")
    write = "import os; open('/shared/a', 'w').write('x'); open('/logs/b', 'w').write('y'); print(os.getcwd())"
    cell.create(worker=write, driver="print(open('/shared/a').read())")
    for role in ("worker", "driver"):
        cell.site.start(role)
        assert cell.until("exited", role).code == 0, cell.output(role, is_error=True)
    assert cell.output("driver") == b"x\n"
    assert cell.site.collect().left == ()
    assert (cell.folder / "logs" / "worker" / "b").read_text() == "y"
    assert "/shared" not in cell.output("worker").decode()


@pytest.mark.parametrize("ground", ["compose"], indirect=True)
def test_only_what_was_put_into_logs_is_copied(
    ground: Ground, cell: Cell, dock: containers.Dock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A /logs in which nothing is must not be copied, as that is slow; an image's own must, whatever was done in it."""
    copied: list[str] = []
    copy = ContainerSite._copy

    def noted(site: ContainerSite, container: str, to: Path) -> list[str]:
        copied.append(to.name)
        return copy(site, container, to)

    monkeypatch.setattr(ContainerSite, "_copy", noted)
    recipe, tag = f"FROM {dock.image}\nRUN mkdir /logs && echo old > /logs/own\n", "harness-test-logs:own"
    containers.build(dock.client, tag, {"Dockerfile": recipe.encode()}, {})
    images = {"worker": ground.image, "driver": ground.image, "old": str(dock.client.inspect_image(tag)["Id"])}
    script = "import os; os.environ['NOTHING'] or open('/logs/own', 'a').write('new')"
    cell.site.create(
        [
            Part(role, "x", ("python3", "-uc", script), {"NOTHING": "1" if role == "worker" else ""}, image)
            for role, image in images.items()
        ]
    )
    for role in images:
        cell.site.start(role)
        cell.until("exited", role)
    assert cell.site.collect().left == ()
    assert sorted(copied) == ["driver", "old"]
    assert (cell.folder / "logs" / "driver" / "own").read_text() == "new"
    assert (cell.folder / "logs" / "old" / "own").read_text() == "old\nnew"
    assert cell.site.remove() == ()
    dock.client.remove_image(tag, force=True)


def test_every_role_has_an_address_of_its_own(ground: Ground, cell: Cell) -> None:
    """Two cells must be able to listen on one port at once, and a role must know its own and its peers' address."""
    listen = """
import os, socket
peers = dict(word.split("=") for word in os.environ["INTEROP_PEERS"].split())
assert set(peers) == {"worker", "driver"}
s = socket.create_server((peers["worker"], 4433)); print("up"); input()
"""
    connect = """
import os, socket
peers = dict(word.split("=") for word in os.environ["INTEROP_PEERS"].split())
print(socket.create_connection((peers["worker"], 4433)).getpeername()[1])
"""
    cells = [cell, Cell(ground, "u")]
    for each in cells:
        each.create(worker=listen, driver=connect)
        each.site.start("worker")
        each.until("output", "worker", b"up\n")
    for each in cells:
        each.site.start("driver")
        each.until("exited", "driver")
        assert each.output("driver") == b"4433\n"
    assert cells[1].site.remove() == ()


def test_a_command_that_is_not_there_is_told(cell: Cell) -> None:
    """A role that cannot be executed must be an error that names its program."""
    cell.site.create([Part("driver", "x", ("no-such-program",), image=cell.image)])
    with pytest.raises(HarnessError, match="no-such-program"):
        cell.site.start("driver")


def test_the_end_of_the_keeper_is_told(ground: Ground, cell: Cell) -> None:
    """When the keeper is killed, whoever follows a cell must hear of it, and its roles must be gone."""
    cell.create(worker="print('up'); input()")
    cell.site.start("worker")
    cell.until("output", "worker", b"up\n")
    facts = ground.environment.link.facts
    procs.kill(facts["pid"], 9, start_time=facts["start"])
    assert cell.until("lost").why


FLOOD = """
import os, sys
print('{"ty":"ready"}')
line = b"x" * 8191 + b"\\n"
for _ in range(%d):
    os.write(1, line)
print('{"ty":"done"}')
"""


def test_nothing_of_a_flood_is_lost(cell: Cell) -> None:
    """What comes before, in and after a flood must be heard, all of it, before the end of the role."""
    size = 64 << 20
    cell.create(driver=FLOOD % (size // 8192))
    cell.site.start("driver")
    cell.until("exited")
    heard = cell.output("driver")
    assert heard.startswith(b'{"ty":"ready"}\n')
    assert heard.endswith(b'\n{"ty":"done"}\n')
    assert len(heard) == size + 29
