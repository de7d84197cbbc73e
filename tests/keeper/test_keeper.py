"""Whatever is killed, nothing is left; what belongs to others is untouched."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from fake_engine import FakeEngine
from projects import Project, run_in, service, web

from harness import clock, procs
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.keeper.addresses import Leases
from harness.keeper.client import EnvironmentId, KeeperLink, KeeperToBe, start_keeper
from harness.keeper.messages import Act, Release, Request, Services
from harness.ownership import ledger
from harness.ownership.identity import Owner, is_proven_dead, this_process
from harness.ownership.locks import locked
from harness.ownership.objects import sealed
from harness.ownership.removal import CUT_SHORT
from harness.ownership.sweep import Swept, sweep
from harness.runs import running
from harness.runs.known import listed
from harness.verbs import up_down

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import sys, signal
from pathlib import Path
from harness.config import load_settings, read_sources
from harness.runs import Run
from harness.runs.choice import choose
run = Run(choose(load_settings(read_sources(Path(sys.argv[1])))), print)
stack = run.bring("s")
print("UP", stack.service("web").pid, run.environment.link.facts["pid"], flush=True)
signal.pause()
"""


@pytest.fixture
def holder(project: Project, tmp_path: Path) -> Iterator[tuple[procs.Popen[bytes], int, int]]:
    """Another process with a run: (it, pid of its service, pid of its keeper)."""
    project.stack("s", {"web": web(), "forker": service("daemon", "say:up", "wait", ready=[{"log": "up"}])})
    output = tmp_path / "holder.log"
    with output.open("wb") as file:
        process = procs.spawn(
            [sys.executable, "-c", HOLD, str(project.root)], env=project.environ, cwd=project.root, output=file
        )
    try:
        words: list[str] = []
        for _ in clock.poll(clock.Deadline.after(20)):
            lines = [line for line in output.read_text().splitlines() if line.startswith("UP")]
            if lines:
                words = lines[0].split()
                break
        assert words, output.read_text()
        yield process, int(words[1]), int(words[2])
    finally:
        process.kill()
        process.wait(10)


def test_a_killed_run_leaves_nothing(project: Project, holder: tuple[procs.Popen[bytes], int, int]) -> None:
    """When a run is killed, its keeper must remove everything, daemons included, and end, within ten seconds."""
    process, _, _ = holder
    process.kill()
    assert project.wait_until_gone(10) == {}
    assert project.ledgers() == []
    assert not (project.latest / "work").exists()


def test_a_forked_child_of_a_killed_run_does_not_delay_removal(project: Project, tmp_path: Path) -> None:
    """A child that inherited the run's connection must not keep the environment alive."""
    project.stack("s", {"web": web()})
    script = HOLD.replace("signal.pause()", "import os\nif os.fork() == 0:\n    signal.pause()\nsignal.pause()")
    output = tmp_path / "holder.log"
    with output.open("wb") as file:
        process = procs.spawn(
            [sys.executable, "-c", script, str(project.root)], env=project.environ, cwd=project.root, output=file
        )
    try:
        for _ in clock.poll(clock.Deadline.after(20)):
            if b"UP" in output.read_bytes() and procs.descendants(process.pid):
                break
        process.kill()
        process.wait(10)
        assert project.wait_until_gone(10) == {}
    finally:
        procs.kill_group(process.pid, signal.SIGKILL)


def test_a_run_that_dies_while_it_says_hello_leaves_no_keeper(project: Project) -> None:
    """A keeper whose run is gone before or while it took its lease must end by itself within ten seconds."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    for last_words in (b"", b'{"id": 1, "do": "hello", "pid": 1, "start": 1, "lease": true}\n'):
        env = f"e-{os.getpid()}-{len(last_words)}"
        folder = project.root / "logs" / env
        (folder / "services").mkdir(parents=True)
        wanted = EnvironmentId(env, state, folder, str(project.root), "embedded")
        start_keeper(wanted)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("\0" + wanted.socket)
            connection.sendall(last_words)
    assert len(project.ledgers()) == 2, "each waits for somebody to come"
    assert project.wait_until_gone(10) == {}
    assert project.ledgers() == []


def test_a_keeper_that_is_not_wanted_makes_nothing(project: Project) -> None:
    """One that was only loaded must be gone when it is dismissed, and must have made nothing."""
    wanted = EnvironmentId("e", project.state / "harness", project.root / "logs" / "e", str(project.root), "embedded")
    before = sorted(project.root.rglob("*"))
    keeper = KeeperToBe(wanted)
    try:
        for _ in clock.poll(clock.Deadline.after(10)):
            children = {child.pid for child in psutil.Process().children()}
            if len(project.processes().keys() - children) == 1:  # it has begun; a child of this process forks it
                break
        assert project.processes()
    finally:
        keeper.dismiss()
    assert project.processes() == {}
    assert sorted(project.root.rglob("*")) == before
    assert not (project.state / "harness").exists()


TO_BE = """
import os, signal, sys
from pathlib import Path
from harness.keeper.client import EnvironmentId, KeeperToBe
state, root = map(Path, sys.argv[1:])
KeeperToBe(EnvironmentId("e", state / "harness", root / "logs" / "e", str(root), "embedded"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_keeper_to_be_ends_with_its_run(project: Project) -> None:
    """When a run is killed while it reads its stacks, the keeper that it has loaded must end and have made nothing."""
    done = procs.run([sys.executable, "-c", TO_BE, str(project.state), str(project.root)], timeout=20)
    assert done.code == -signal.SIGKILL
    assert project.wait_until_gone(10) == {}
    assert not (project.root / "logs").exists()
    assert not (project.state / "harness").exists()


BEGUN = """
import json, os, signal, sys
from pathlib import Path
from harness.daemon import Daemon
from harness.keeper.client import EnvironmentId, KeeperToBe
state, root, host = sys.argv[1:]
folder = Path(root, "logs", "e")
folder.mkdir(parents=True)
wanted = EnvironmentId("e", Path(state), folder, root, "compose", Daemon(host, "a test"), "10.213.0.0/16")
keeper = KeeperToBe(wanted)
keeper.begin(network=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_network_that_comes_after_its_run_was_killed_goes(project: Project, tmp_path: Path) -> None:
    """A network that a killed run had asked for must be found and removed by the keeper, however late it is made."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    engine, asked, late = FakeEngine(tmp_path / "docker.sock"), threading.Event(), threading.Event()
    looked: list[str] = []

    def slow(method: str, path: str) -> None:
        if (method, path) == ("POST", "/networks/create"):
            asked.set()
            late.wait(20)
        elif (method, path) == ("GET", "/networks"):
            if looked:  # the keeper looks again for what is there: only now it comes
                late.set()
            looked.append(path)

    engine.before = slow
    with engine.running():
        words = [sys.executable, "-c", BEGUN, str(state), str(project.root), engine.daemon.host]
        run = procs.spawn(words, stdin=procs.PIPE)
        try:
            assert run.stdin
            assert asked.wait(20)
            run.stdin.close()
            assert run.wait(20) == -signal.SIGKILL
        finally:
            run.kill()
            run.wait(10)
        assert project.wait_until_gone(20) == {}
    assert engine.networks == {}
    assert engine.did("DELETE") == ["/networks/harness-e"]
    assert list(state.iterdir()) == []


@pytest.fixture
def slow(project: Project, tmp_path: Path) -> Iterator[FakeEngine]:
    """An engine, used by the project, that takes its time to make a network."""
    engine = FakeEngine(tmp_path / "docker.sock")
    pause = threading.Event()

    def before(_: str, path: str) -> None:
        if path == "/networks/create":
            pause.wait(CUT_SHORT + 0.5)

    engine.before = before
    project.environ |= {"HARNESS_ENGINE": "compose", "DOCKER_HOST": f"unix://{engine.path}"}
    with engine.running():
        yield engine


def test_a_network_is_made_once_and_handed_over(project: Project, slow: FakeEngine) -> None:
    """The keeper must take the network that was made while it loaded, mark it as its own, and remove it."""
    run = project.run()
    environment = run.open()
    made = environment.network("s", ["web"])
    assert made == environment.network("t", ["db"])
    ((name, (labels, _)),) = slow.networks.items()
    assert made.name == name == f"harness-{environment.env}"
    assert json.loads(labels["harness.owner"])["pid"] == environment.link.facts["pid"]
    facts = environment.link.facts
    wanted = sealed(facts["labels"], facts["key"], "network", name)
    assert {**labels, "harness.created": ""} == {**wanted, "harness.created": ""}
    assert run.close() == []
    assert slow.networks == {}
    assert slow.did("POST") == ["/networks/create"]


def test_a_run_that_ends_before_its_network_is_there_leaves_none(project: Project, slow: FakeEngine) -> None:
    """A network that is still being made when its run ends must be waited for, and gone after that."""
    run = project.run()
    environment = run.open()
    assert slow.networks == {}
    assert run.close() == []
    assert slow.networks == {}
    assert slow.did("DELETE") == [f"/networks/harness-{environment.env}"]


def test_a_network_whose_keeper_did_not_come_up_goes(
    project: Project, slow: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the keeper fails while the network is being made, the run must remove it."""
    dies = "import os,sys\nos.write(int(sys.argv[4]), b'%d' % os.getpid())\nos.read(int(sys.argv[3]), 99)"
    monkeypatch.setattr("harness.keeper.client._BOOT", dies)
    with pytest.raises(BrokenStack, match="did not start"):
        project.run().open()
    assert slow.did("POST") == ["/networks/create"]
    assert len(slow.did("DELETE")) == 1
    assert slow.networks == {}


def test_a_keeper_that_cannot_start_says_why(project: Project) -> None:
    """What keeps it from starting must be in the error, also what it said before it had a log."""
    (project.state / "harness").mkdir(mode=0o700)
    wanted = EnvironmentId("e", project.state / "harness", project.root / "nowhere", str(project.root), "embedded")
    with pytest.raises(BrokenStack) as caught:
        start_keeper(wanted)
    assert "did not start" in caught.value.summary
    assert "FileNotFoundError" in caught.value.details[-1]


def test_a_keeper_that_is_killed_while_a_stack_settles_ends_the_wait(project: Project) -> None:
    """When the keeper is killed under a service that is not ready yet, bringing it up must fail at once and say so."""
    project.stack("s", {"web": web(), "never": service("say:up", "wait", ready=[{"log": "never"}])})
    run = project.run()
    with ThreadPoolExecutor(1) as pool:
        bringing = pool.submit(run.bring, "s")
        for _ in clock.poll(clock.Deadline.after(20)):
            if run.environment and len(run.environment.link.ask(Services())["services"]) == 2:
                break
        assert run.environment is not None
        os.kill(run.environment.link.facts["pid"], signal.SIGKILL)
        with pytest.raises(BrokenStack, match=r"The keeper of environment .* is gone"):
            bringing.result(30)
    assert run.close() == []


def test_a_killed_keeper_is_noticed_and_replaced_by_the_sweep(project: Project) -> None:
    """When the keeper is killed, the run must be broken at once, and closing it must clear what the keeper left."""
    project.stack("s", {"web": web(), "forker": service("daemon", "say:up", "wait", ready=[{"log": "up"}])})
    run = project.run()
    run.bring("s")
    assert run.environment is not None
    os.kill(run.environment.link.facts["pid"], signal.SIGKILL)
    began = clock.now()
    with pytest.raises(BrokenStack, match=r"The keeper of environment .* is gone"):
        for _ in clock.poll(clock.Deadline.after(60)):
            pass
    assert clock.now() - began < 30
    assert run.close() == []
    assert project.processes() == {}
    assert project.ledgers() == []


def test_run_and_keeper_killed_together_are_healed_by_the_next_start(
    project: Project, holder: tuple[procs.Popen[bytes], int, int]
) -> None:
    """After a kill of run and keeper together, the next start must remove what they left, and say so."""
    process, _, keeper = holder
    start = procs.start_time_of(keeper) or 0
    os.kill(keeper, signal.SIGKILL)
    process.kill()
    process.wait(10)
    assert procs.wait_gone(keeper, start, 10)  # until then it holds its lock, and counts as alive
    assert len(project.ledgers()) == 1
    dead = project.ledgers()[0].stem
    run = project.run()
    with running(run):
        run.bring("s")
        assert f"environment {dead} of a dead run was cleared" in project.said
    assert project.processes() == {}
    assert project.ledgers() == []


def test_the_sweep_leaves_living_environments_alone(
    project: Project, holder: tuple[procs.Popen[bytes], int, int]
) -> None:
    """A sweep must not touch an environment whose keeper lives."""
    process, pid, keeper = holder
    assert sweep(project.state / "harness") == Swept()
    assert procs.start_time_of(pid) is not None
    assert procs.start_time_of(keeper) is not None
    process.kill()
    assert project.wait_until_gone(10) == {}


@pytest.mark.parametrize(
    "content",
    ["", "\0\0", "{", "[]\n", '{"kind": "header", "schema": 99}\n', '{"kind": "header", "schema": 1}\n', "\xff"],
)
def test_what_is_no_ledger_is_left_alone(project: Project, content: str) -> None:
    """A file that cannot be read as a ledger of ours must neither break a start nor be deleted."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    odd = state / "odd.ledger"
    odd.write_text(content, encoding="latin-1")
    assert sweep(state) == Swept()
    assert odd.exists()
    odd.unlink()


def test_a_ledger_of_a_reused_pid_does_not_kill_the_stranger(project: Project) -> None:
    """A process that only has the number of a dead service must not be signalled."""
    bystander = procs.spawn([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        state = project.state / "harness"
        state.mkdir(mode=0o700)
        owner = {**this_process().as_dict(), "pid": 2**22 - 3, "start": 1}
        folder = project.root / "old"
        folder.mkdir()
        lines = [
            {
                "kind": "header",
                "schema": 1,
                "env": "e",
                "checkout": "c",
                "engine": "embedded",
                "folder": str(folder),
                "socket": "harness-none",
                "owner": owner,
            },
            {"kind": "started", "pid": bystander.pid, "start": 1, "service": "s/x"},
        ]
        (state / "e.ledger").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "ended", "p')
        assert sweep(state).lines() == ["environment e of a dead run was cleared"]
        assert bystander.poll() is None
        assert project.ledgers() == []
    finally:
        bystander.kill()
        bystander.wait(10)


@pytest.mark.parametrize("alive", ["keeper by its lock", "keeper by its pid", "holder"])
def test_any_sign_of_life_protects_an_environment(project: Project, alive: str) -> None:
    """A held ledger, a living keeper process or a living holder must each be enough to keep the sweep away."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    here = this_process().as_dict()
    dead = {**here, "pid": 2**22 - 3, "start": 1}
    header = {"kind": "header", "schema": 1, "env": "e", "checkout": "c", "engine": "embedded"}
    header |= {"folder": str(project.root), "socket": "harness-none"}
    header |= {"owner": here if alive == "keeper by its pid" else dead}
    holder = {"kind": "holder", "owner": here if alive == "holder" else dead}
    path = state / "e.ledger"
    path.write_text(json.dumps(header) + "\n" + json.dumps(holder) + "\n")
    with path.open("r+") as file:
        if alive == "keeper by its lock":
            fcntl.flock(file, fcntl.LOCK_EX)
        assert sweep(state) == Swept()
        assert path.exists()
    path.unlink()


def test_death_is_only_believed_when_proven() -> None:
    """An owner of another machine, user or process namespace must count as alive; of an earlier boot, as dead."""
    here = this_process()
    facts = here.as_dict()

    def other(**changes: object) -> Owner:
        return Owner(**{**facts, **changes})

    assert not is_proven_dead(here, here)
    assert is_proven_dead(other(start=1), here)
    assert is_proven_dead(other(boot="earlier"), here)
    assert not is_proven_dead(other(start=1, uid=-1), here)
    assert not is_proven_dead(other(start=1, machine="elsewhere"), here)
    assert not is_proven_dead(other(start=1, pidns=1), here)


def test_leases_never_meet() -> None:
    """Two environments with the same seed must get different networks and ports; one gets the same again by name."""
    first, second = Leases("same"), Leases("same")
    try:
        assert first.network != second.network
        assert first.port("x") != second.port("x")
        assert first.port("x") == first.port("x")
        assert first.port("x") != first.port("y")
        assert first.address("s/a") == f"{first.network}.2"
        assert first.address("s/b") == f"{first.network}.3"
        assert first.address("s/a") == f"{first.network}.2"
    finally:
        first.close()
        second.close()


def test_a_lock_that_is_held_names_its_holder(tmp_path: Path) -> None:
    """Waiting for a lock must end at its deadline with who holds it."""
    path = tmp_path / "a.lock"
    with locked(path, 1), pytest.raises(ConfigError) as caught, locked(path, 0.1):
        pass
    assert caught.value.summary.startswith(f"Lock {path} was not free in 0.1 s; held by pid {os.getpid()} (")


def test_the_state_folder_must_be_private(project: Project) -> None:
    """A state folder that others can read must be refused with exit code 10."""
    (project.state / "harness").mkdir(mode=0o755)
    (project.state / "harness").chmod(0o755)
    project.stack("s", {"web": web()})
    with pytest.raises(ConfigError, match="has mode 0755, 0700 was needed"):
        project.run().bring("s")
    assert project.processes() == {}


def test_up_is_used_by_runs_and_left_up(project: Project) -> None:
    """What ``up`` left must be used by later runs without a restart, survive them, and be gone after ``down``."""
    project.stack("base", {"web": web()})
    project.stack("more", {"more": web()}, include=["base.yaml"])
    settings = project.settings(stack="base")
    up_down.up(settings, project.said.append, ttl=600)
    pids = {one.service: one.pid for one in listed(settings)}
    for _ in range(2):
        run = project.run()
        with running(run):
            assert run.bring("base").service("web").pid == pids["web"]
            assert run.bring("more").service("more").state == "running"
        assert {one.service: one.pid for one in listed(settings)} == pids
        assert (project.latest / "services" / "web.log").is_symlink()
    assert up_down.up(settings, project.said.append, ttl=600) == {
        name: address for one in listed(settings) for name, address in one.endpoints.items()
    }
    assert {one.service: one.pid for one in listed(settings)} == pids
    up_down.down(settings, project.said.append)
    assert project.processes() == {}
    assert project.ledgers() == []
    with pytest.raises(ConfigError, match="Nothing is up here"):
        listed(settings)


def test_up_starts_a_changed_stack_anew(project: Project) -> None:
    """``up`` after a change of a stack's file that is no single service's matter must start it anew."""
    project.stack("s", {"web": web()})
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    before = listed(settings)[0].environment
    project.stack("s", {"web": web(), "other": web()})
    up_down.up(settings, project.said.append, ttl=600)
    assert listed(settings)[0].environment != before
    assert "s: changed since it was started; everything is started anew" in project.said
    up_down.down(settings, project.said.append)


def test_down_waits_for_nobody_but_tells_who_uses_it(project: Project) -> None:
    """``down`` must leave what a run still uses, say so, and it must be gone when that run ends."""
    project.stack("s", {"web": web()})
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    run = project.run()
    with running(run):
        stack = run.bring("s")
        up_down.down(settings, project.said.append)
        assert f"(pid {os.getpid()})" in project.said[-1]
        assert stack.service("web").state == "running"
    assert project.wait_until_gone(10) == {}


class _Nonsense(Request[Any]):
    do = "nothing"


class _Lacking(Request[Any]):
    do = "release"


class _Unknown(Request[Any]):
    do = "look"
    at: str


class _Echo(Request[Any]):
    do = "x"
    of: int | None = None


class _Die(Request[Any]):
    do = "die"


def test_a_stranger_cannot_talk_the_keeper_into_a_crash(project: Project) -> None:
    """Requests that make no sense must be answered with an error, and the keeper must go on."""
    project.stack("s", {"web": web()})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        assert run.environment is not None
        link = run.environment.link
        with pytest.raises(HarnessError, match="KeyError: 'nothing'"):
            link.ask(_Nonsense())
        with pytest.raises(HarnessError, match="TypeError: Request 'release': lacks 'stack'"):
            link.ask(_Lacking())
        with pytest.raises(HarnessError, match="TypeError: Request 'look': no field 'at'"):
            link.ask(_Unknown("x"))
        with pytest.raises(HarnessError, match="KeyError: 's/x'"):
            link.ask(Act("s", "x", "kill"))
        assert stack.service("web").state == "running"
        again = KeeperLink(f"harness-{os.getuid()}-{run.environment.env}", lease=False)
        assert len(again.ask(Services())["services"]) == 1
        again.close()


@pytest.fixture
def backwards() -> Iterator[str]:
    """A keeper that answers once it has three requests, the last one first, and is gone at ``die``; its address."""
    name = f"harness-test-{os.getpid()}"

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, client.makefile("rwb") as stream:
            waiting: list[dict[str, object]] = []
            for line in stream:
                asked = json.loads(line)
                if asked["do"] == "die":
                    return
                waiting.append({"id": asked["id"], "ok": {"of": asked.get("of")}})
                if len(waiting) == 3 or asked["do"] == "hello":
                    stream.write(b"".join(json.dumps(one).encode() + b"\n" for one in reversed(waiting)))
                    stream.flush()
                    waiting.clear()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        yield name
        server.join(10)


def test_requests_wait_side_by_side_each_for_its_own_answer(backwards: str) -> None:
    """A request must be sent while others wait, get the answer to it alone, and end at once with the keeper."""
    link = KeeperLink(backwards, lease=False)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda of: link.ask(_Echo(of))["of"], range(3))) == [0, 1, 2]
        with pytest.raises(BrokenStack, match=r"did not answer 'x' in 0\.1 s"):
            link.ask(_Echo(), timeout=0.1)
        unanswered = [pool.submit(link.ask, _Echo(of)) for of in range(2)]  # with them it is answered, too late
        assert [one.result(30)["of"] for one in unanswered] == [0, 1]
        unanswered = [pool.submit(link.ask, _Echo(of)) for of in range(2)]
        began = clock.now()
        with pytest.raises(BrokenStack, match="is gone"):
            link.ask(_Die())
        for one in unanswered:
            with pytest.raises(BrokenStack, match="is gone"):
                one.result(30)
        assert clock.now() - began < 30
    with pytest.raises(BrokenStack, match="is gone"):
        link.ask(_Echo())
    link.close()


def test_the_keeper_is_a_process_of_its_own(project: Project) -> None:
    """The keeper must be in its own session, in /, and hold the lock of a private ledger."""
    project.stack("s", {"web": web()})
    run = project.run()
    with running(run):
        run.bring("s")
        assert run.environment is not None
        pid = run.environment.link.facts["pid"]
        assert os.getsid(pid) != os.getsid(0)
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        (path,) = project.ledgers()
        assert path.stat().st_mode & 0o777 == 0o600
        assert ledger.keeper_is_alive(path)


CLEARED = """
import asyncio, json, os, sys
from harness.keeper.keeper import Keeper
async def main():
    keeper = Keeper(json.loads(sys.argv[1]))
    seen = [keeper.intents.is_cleared, await keeper.remove_all(), keeper.intents.is_cleared]
    keeper.intents.intend("start", service="s/late")
    print(json.dumps([*seen, keeper.intents.is_cleared]))
asyncio.run(main())
"""


WALKS = """
import asyncio, json, sys
from harness import clock, procs
from harness.keeper.holds import Request
from harness.keeper.keeper import Keeper
from harness.keeper.stacks import Stack
async def main():
    keeper = Keeper(json.loads(sys.argv[1]))
    asyncio.get_running_loop().add_signal_handler(17, keeper.processes.reap)
    keeper.stacks.holds.acquire(Request(1, "run-1", "s"))
    stack = keeper.stacks.known["s"] = Stack("s")
    spec = {"argv": ["tail", "-f", "/dev/null"], "env": {}, "cwd": "/", "grace": 0, "stop": [], "hold": False}
    log = json.loads(sys.argv[1])["folder"] + "/log"
    for number in range(20):
        # Every second one is a subject, which is asked to end first.
        keeper.processes.start("s", str(number), spec | {"grace": number % 2}, log)
    look, walks = procs.all_pids, []
    procs.all_pids = lambda: walks.append(1) or look()
    left = await keeper.remove(stack, clock.Deadline.after(7))
    print(json.dumps([left, len(walks)]))
asyncio.run(main())
"""


def test_the_walks_that_a_teardown_takes_do_not_grow_with_its_services(tmp_path: Path) -> None:
    """Twenty services must be looked for together: two looks at a family each half, one list and its check a walk."""
    left, walks = json.loads(_in_a_keeper(WALKS, tmp_path))
    assert left == []
    assert walks <= 2 + 3 * 4, "2 families, 3 walks by cookie, of which each lists /proc again when something came"


SYNCS = """
import asyncio, json, os, sys
from harness.keeper.keeper import Keeper
async def main():
    sync, synced = os.fdatasync, []
    os.fdatasync = lambda fd: synced.append(1) or sync(fd)
    def taken():
        synced[:], count = [], len(synced)
        return count
    keeper = Keeper(json.loads(sys.argv[1]))
    counts = {"header": taken()}
    for act in ("start", "network", "compose"):
        keeper.intents.intend(act)
        counts[act] = taken()
    keeper.intents.ledger.note("started", pid=1, start=2, service="s/x")
    counts["started"] = taken()
    with open(sys.argv[2]) as file:
        kinds = [json.loads(line)["kind"] for line in file]
    print(json.dumps([counts, kinds]))
asyncio.run(main())
"""


def test_only_what_outlives_the_machine_waits_for_the_disk(tmp_path: Path) -> None:
    """What an engine is to make must be on disk before; lines about processes must only be written, but at once."""
    counts, kinds = json.loads(_in_a_keeper(SYNCS, tmp_path, str(tmp_path / f"e-{os.getpid()}.ledger")))
    assert counts == {"header": 1, "start": 0, "network": 1, "compose": 1, "started": 0}
    assert kinds == ["header", "intent", "intent", "intent", "started"]


def _in_a_keeper(script: str, folder: Path, *words: str) -> str:
    """Run a script that makes a keeper without clients in ``folder``; return what it says."""
    header: dict[str, object] = dict.fromkeys(("state", "folder", "checkout"), str(folder))
    header |= {"env": f"e-{os.getpid()}", "engine": "embedded", "daemon": None, "socket": f"harness-{os.getpid()}"}
    header |= {"nonce": "0", "key": "0", "awaits_network": False}
    done = procs.run([sys.executable, "-c", script, json.dumps(header), *words], timeout=20)
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def test_what_is_gone_is_looked_for_again_only_when_something_came_since(tmp_path: Path) -> None:
    """A keeper must take everything as gone once it has seen that, until something is about to be made again."""
    assert _in_a_keeper(CLEARED, tmp_path) == "[false, [], true, false]"


# Ends its keeper, whose child it is, when it is asked to stop; beside it is a daemon of its own.
ASSASSIN = (
    "import os,signal; keeper = os.getppid()\n"
    "if os.fork() == 0:\n    os.setsid()\n    signal.pause()\n"
    "signal.signal(15, lambda *_: os.kill(keeper, 9)); print('up', flush=True)\n"
    "while True: signal.pause()"
)


def assassin() -> dict[str, object]:
    """Return a service that kills its keeper as soon as that takes it down, and leaves a daemon."""
    return service(embedded={"command": ["python", "-c", ASSASSIN]}, subject="s", ready=[{"log": "up"}])


def test_a_run_finishes_what_its_keeper_was_killed_over(project: Project) -> None:
    """When the keeper is killed while it tears down, the run must remove the rest itself, and that is no fault."""
    project.stack("s", {"killer": assassin(), "forker": service("daemon", "say:up", "wait", ready=[{"log": "up"}])})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        assert stack.service("killer").state == "running"
    assert run.left == []
    assert project.processes() == {}
    assert project.ledgers() == []
    assert not (project.latest / "work").exists()


def test_down_finishes_what_a_keeper_was_killed_over(project: Project) -> None:
    """When a keeper is killed while ``down`` waits for it, ``down`` must remove the rest itself, and say so."""
    project.stack("s", {"killer": assassin()})
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    up_down.down(settings, project.said.append)
    assert "was killed; all that it kept is removed" in project.said[-1]
    assert project.processes() == {}
    assert project.ledgers() == []


def test_up_that_failed_finishes_what_its_keeper_was_killed_over(project: Project) -> None:
    """When the keeper is killed while it undoes a failed `up`, the cause must be told and nothing left."""
    project.stack("s", {"killer": assassin(), "bad": service("say:bad", "exit:3:0.5", ready=[{"log": "never"}])})
    with pytest.raises(BrokenStack, match="ended with exit code 3"):
        up_down.up(project.settings(stack="s"), project.said.append, ttl=600)
    assert project.processes() == {}
    assert project.ledgers() == []


@pytest.mark.parametrize("words", [(), ("-n2",)], ids=["alone", "workers"])
def test_pytest_finishes_what_its_keeper_was_killed_over(project: Project, words: tuple[str, ...]) -> None:
    """When the keeper is killed at the end of a session that passed, nothing may be left and the exit code be 0."""
    project.stack("s", {"killer": assassin()})
    (project.root / "test_it.py").write_text("def test_it(stack): pass\n")
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "--stack=s", *words, timeout=120)
    assert done.code == 0, done.stdout
    assert project.processes() == {}
    assert project.ledgers() == []


@pytest.mark.parametrize("hurried", [False, True])
def test_a_service_has_the_grace_that_its_file_gives_unless_a_signal_came(project: Project, hurried: bool) -> None:
    """A grace beyond seven seconds must be given at an end that is not in a hurry, and no more than seven after one."""
    compose = {"stop_grace_period": "60s"}
    late = service(f"slow:{20 if hurried else 8.5}", "say:up", "wait", ready=[{"log": "up"}], compose=compose)
    project.stack("s", {"late": late}, **{"x-harness": {"timeouts": {"down": "90s"}}})
    run = project.run()
    log = run.bring("s").service("late").log
    began = clock.now()
    assert run.close(hurried=hurried) == []
    assert ("ended slowly" in log.read_text()) != hurried
    assert clock.now() - began < 45


def test_a_run_that_goes_while_its_stack_is_removed_leaves_no_keeper(project: Project) -> None:
    """A run that is lost while it waits for a removal must not leave the keeper, with nothing left to keep."""
    late = service("slow:3", "say:up", "wait", ready=[{"log": "up"}], compose={"stop_grace_period": "20s"})
    project.stack("s", {"late": late}, **{"x-harness": {"timeouts": {"down": "30s"}}})
    run = project.run()
    run.bring("s")
    assert run.environment is not None
    link = run.environment.link
    removal = clock.Aside(lambda: link.ask(Release("s")))
    for _ in clock.poll(clock.Deadline.after(10)):
        if not link.ask(Services())["stacks"]["s"]["settled"]:
            break
    assert not removal.is_over()
    link.close()
    assert project.wait_until_gone(20) == {}
    assert project.ledgers() == []
