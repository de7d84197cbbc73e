"""What a keeper knows of containers: told by the engine's events, asked for after a break, never told twice."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import threading
import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_engine import EARLIER, ENV, FITS, KEY, LATER, FakeEngine, name_of, with_seal

from harness import clock
from harness.daemon import Api
from harness.errors import HarnessError
from harness.keeper import hooks
from harness.keeper import watch as watching
from harness.keeper.calls import Calls
from harness.keeper.containers import STARTS_AT_ONCE, Engine
from harness.keeper.networks import BRIDGE, make_network
from harness.keeper.watch import ENGINE_FILE, NOT_ALL, Container
from harness.ownership import objects
from harness.ownership.proof import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.keeper.messages import Hook

NONCE = "0123456789abcdef"
LABELS = {
    objects.RUN: ENV,
    objects.NONCE: NONCE,
    objects.STACK: "s",
    objects.SERVICE: "web",
    objects.NUMBER: "1",
    objects.SEAL: FITS,
}
BUDGET = 5.0
BETWEEN = int(datetime.fromisoformat(EARLIER).timestamp()) * 10**9 + 10**9  # after a start, before an end
AFTER = int(datetime.fromisoformat(LATER).timestamp()) * 10**9 + 2 * 10**9  # after that end


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    """A running engine with nothing on it."""
    with FakeEngine(tmp_path / "docker.sock").running() as made:
        yield made


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


class Watch:
    """An engine as its keeper has it, with the container ``web``; ``told`` is what clients would hear."""

    def __init__(self, fake: FakeEngine, folder: Path) -> None:
        self.fake = fake
        self.told: list[tuple[str, str, int | None]] = []
        self.said: list[str] = []
        self.engine = Engine(fake.daemon, objects.Claim(ENV, NONCE, KEY), "10.213.0.0/16", self._tell, self.said.append)
        self.web = Container("s", "web", str(folder / "web.log"), 0.0)
        self.engine.containers[self.web.id] = self.web
        self._nano = BETWEEN

    def _tell(self, event: str, about: Container | None) -> None:
        self.told.append((event, about.container if about else "", about.exit_code if about else None))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds; fail when it does not in time."""
        deadline = clock.Deadline.after(BUDGET)
        while not holds():
            assert not deadline.expired(), (self.told, self.said)
            await _pause(0.005)

    def event(self, action: str, container: str = "c1", **labels: str) -> dict[str, Any]:
        """Return an event of a container of ours, later than the one before."""
        self._nano += 1
        attributes = {**with_seal("container", name_of(container), {**LABELS, **labels}), "name": name_of(container)}
        return {"Action": action, "Actor": {"ID": container, "Attributes": attributes}, "timeNano": self._nano}

    def send(self, event: dict[str, Any]) -> None:
        """Have the engine tell an event."""
        self.fake.streams[-1].put(event)

    async def end(self) -> None:
        """Stop listening, and close every connection."""
        self.engine.close()
        for stream in self.fake.streams:
            stream.put(None)
        if self.engine.watch.listener:
            await asyncio.to_thread(self.engine.watch.listener.join, BUDGET)


def watch(fake: FakeEngine, folder: Path, scenario: Callable[[Watch], Any]) -> Watch:
    """Run a scenario on an engine that is subscribed to; return what came of it."""

    async def run() -> Watch:
        made = Watch(fake, folder)
        try:
            await made.engine.opened()
            await scenario(made)
        finally:
            await made.end()
        return made

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Connections that the SDK leaves to the collector are closed here, not under somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_a_log_that_the_engine_may_have_cut_says_so(fake: FakeEngine, tmp_path: Path) -> None:
    """Where the engine's log was followed and has been full, the end must say that there may have been more."""
    said = bytes(ENGINE_FILE + 1)
    fake.containers["c1"] = LABELS
    fake.output["c1"] = said

    async def scenario(made: Watch) -> None:
        made.send(made.event("start"))
        await made.until(lambda: len(made.told) == 1)
        await asyncio.wait_for(made.web.followed.wait(), BUDGET)

    watch(fake, tmp_path, scenario)
    assert (tmp_path / "web.log").read_bytes() == said + NOT_ALL


def test_a_containers_life_is_told(fake: FakeEngine, tmp_path: Path) -> None:
    """Start, health and end must be told in order with the exit code, and the output must be in the log."""
    fake.containers["c1"] = LABELS
    fake.output["c1"] = b"up\n\xff\n"

    async def scenario(made: Watch) -> None:
        made.send(made.event("start"))
        made.send(made.event("health_status: healthy"))
        made.send(made.event("die", exitCode="3"))
        await made.until(lambda: len(made.told) == 3)
        await asyncio.wait_for(made.web.followed.wait(), BUDGET)

    made = watch(fake, tmp_path, scenario)
    assert made.told == [("started", "c1", None), ("health", "c1", None), ("exit", "c1", 3)]
    assert (made.web.running, made.web.starts, made.web.health) == (False, 1, "healthy")
    assert (tmp_path / "web.log").read_bytes() == b"up\n\xff\n"


def test_podman_is_heard_too(tmp_path: Path) -> None:
    """The end of a container must be told by Podman 4 too, which wants to be asked for it by another name."""

    async def scenario(made: Watch) -> None:
        made.send(made.event("start"))
        made.send(made.event("die", exitCode="7"))
        await made.until(lambda: len(made.told) > 1)

    with FakeEngine(tmp_path / "podman.sock", kind="Libpod/4.3.1").running() as podman:
        made = watch(podman, tmp_path, scenario)
    assert made.told == [("started", "c1", None), ("exit", "c1", 7)]


@pytest.mark.parametrize(
    "words",
    [
        "Pool overlaps with other one on this address space",
        "subnet 10.213.0.0/24 is already used on the host or by another config",
    ],
)
def test_a_subnet_that_is_taken_is_passed_over(fake: FakeEngine, words: str) -> None:
    """A network must be made in the next free subnet where the engine says, in whatever words, that one is taken."""
    refused: list[str] = []

    def refuse_first(_: str, path: str) -> tuple[int, Any] | None:
        if path == "/networks/create" and not refused:
            refused.append(path)
            return 500, {"message": words}
        return None

    fake.before = refuse_first
    claim = objects.Claim(ENV, NONCE, KEY)
    assert make_network(Api(fake.daemon), "harness-n", "10.213.0.0/16", claim, {}).name == "harness-n"
    assert (len(refused), list(fake.networks)) == (1, ["harness-n"])


def test_each_network_of_podman_has_a_bridge_of_its_own(fake: FakeEngine, tmp_path: Path) -> None:
    """Podman must be told the bridge of each network, as two of it count alike; Docker knows better by itself."""
    claim = objects.Claim(ENV, NONCE, KEY)
    with FakeEngine(tmp_path / "podman.sock", kind="Libpod/5.4.2").running() as podman:
        for engine in (podman, fake):
            for name in ("harness-a", "harness-b"):
                make_network(Api(engine.daemon), name, "10.213.0.0/16", claim, {})
    bridges = {options[BRIDGE] for options in podman.options.values()}
    assert (len(bridges), max(map(len, bridges)) <= 15) == (2, True)
    assert fake.options == {"harness-a": {}, "harness-b": {}}


def test_events_of_others_are_not_ours(fake: FakeEngine, tmp_path: Path) -> None:
    """An event without our nonce, of a service that is not known, or of another life must change nothing."""

    async def scenario(made: Watch) -> None:
        made.send(made.event("start", "theirs", **{objects.NONCE: "copied"}))
        made.send(made.event("start", "copy", **{objects.SEAL: seal(KEY, "container", "c1-name", LABELS)}))
        made.send(made.event("start", "second", **{objects.NUMBER: "2"}))
        made.send(made.event("start", "other", **{objects.SERVICE: "other"}))
        made.send(made.event("start"))
        made.send(made.event("die", "earlier", exitCode="1"))
        made.send(made.event("oom"))
        await made.until(lambda: made.web.oom)

    made = watch(fake, tmp_path, scenario)
    assert made.told == [("started", "c1", None)]
    assert made.web.running


def test_what_was_told_before_a_break_is_not_told_again(fake: FakeEngine, tmp_path: Path) -> None:
    """Events that an engine tells again after a break must not count as another life of a container."""
    fake.containers["c1"] = LABELS

    async def scenario(made: Watch) -> None:
        events = [made.event("start"), made.event("die", exitCode="0")]
        for event in events:
            made.send(event)
        await made.until(lambda: len(made.told) == 2)
        fake.exited["c1"] = 0
        fake.streams[-1].put(None)
        await made.until(lambda: len(fake.streams) == 2)
        for event in events:
            made.send(event)
        made.send(made.event("oom"))
        await made.until(lambda: made.web.oom)

    made = watch(fake, tmp_path, scenario)
    assert made.told == [("started", "c1", None), ("exit", "c1", 0)]
    assert made.web.starts == 1


def test_what_happened_during_a_break_is_asked_for(fake: FakeEngine, tmp_path: Path) -> None:
    """A stream that breaks off must be mended at once, and an end that was missed must be told with its exit code."""
    fake.containers["c1"] = LABELS

    async def scenario(made: Watch) -> None:
        made.send(made.event("start"))
        await made.until(lambda: made.told)
        fake.exited["c1"] = 137
        fake.streams[-1].put(None)
        await made.until(lambda: len(made.told) == 2)

    made = watch(fake, tmp_path, scenario)
    assert made.told[1] == ("exit", "c1", 137)
    assert made.engine.lost == ""


def test_a_start_that_was_missed_is_asked_for(fake: FakeEngine, tmp_path: Path) -> None:
    """A container that runs and was never told of must be found by a look, and be told once."""
    fake.containers["c1"] = LABELS

    async def scenario(made: Watch) -> None:
        await made.engine.refresh()
        await made.engine.refresh()
        made.send(made.event("start"))
        made.send(made.event("oom"))
        await made.until(lambda: made.web.oom)

    assert watch(fake, tmp_path, scenario).told == [("started", "c1", None)]


def _create(fake: FakeEngine, engine: Engine, folder: Path, names: list[str]) -> None:
    for name in names:
        one = Container("s", name, str(folder / f"{name}.log"), 0.0)
        engine.containers[one.id] = one
        fake.containers[name] = {**LABELS, objects.SERVICE: name}
        fake.created.add(name)


def _starts(fake: FakeEngine) -> list[str]:
    return [path for path in fake.did("POST") if path.endswith("/start")]


def test_what_is_created_is_started_side_by_side(fake: FakeEngine, tmp_path: Path) -> None:
    """All that was created for a stack must be started, several at once but not all, and nothing else."""
    names = [f"n{number}" for number in range(STARTS_AT_ONCE + 3)]
    fake.containers["lives"] = {**LABELS, objects.SERVICE: "web"}
    fake.containers["theirs"] = {**LABELS, objects.NONCE: "copied", objects.SERVICE: "n1"}
    fake.containers["other"] = {**LABELS, objects.STACK: "t", objects.SERVICE: "n1"}
    fake.containers["copy"] = {**LABELS, objects.SEAL: "another's", objects.SERVICE: "n2"}
    fake.created |= {"theirs", "other", "copy"}
    crowd, most, lock = threading.Barrier(STARTS_AT_ONCE), 0, threading.Lock()
    under_way = 0

    def watched(method: str, path: str) -> None:
        nonlocal under_way, most
        if method == "POST" and path.endswith("/start"):
            with lock:
                under_way += 1
                most = max(most, under_way)
            with contextlib.suppress(threading.BrokenBarrierError):
                crowd.wait(BUDGET)  # until as many are asked for as may be at once
                crowd.abort()  # the rest goes through
            with lock:
                under_way -= 1

    fake.before = watched

    async def scenario(made: Watch) -> None:
        _create(fake, made.engine, tmp_path, names)
        assert await made.engine.start_created("s", names, lambda: False) == {}

    watch(fake, tmp_path, scenario)
    assert sorted(_starts(fake)) == sorted(f"/containers/{name}/start" for name in names)
    assert most == STARTS_AT_ONCE


@pytest.mark.parametrize("terminal", [False, True], ids=["plain", "tty"])
def test_the_output_of_what_is_started_comes_from_it(fake: FakeEngine, tmp_path: Path, *, terminal: bool) -> None:
    """A container that is started here must be attached to before that, and its log be all that it wrote."""
    fake.output["one"] = b"up\n\xff" + bytes(1 << 16)
    fake.terminals |= {"one"} if terminal else set()

    async def scenario(made: Watch) -> None:
        _create(fake, made.engine, tmp_path, ["one"])
        assert await made.engine.start_created("s", ["one"], lambda: False) == {}
        made.send(made.event("start", "one", **{objects.SERVICE: "one"}))
        await made.until(lambda: made.told)
        await asyncio.wait_for(made.engine.containers["s/one"].followed.wait(), BUDGET)

    watch(fake, tmp_path, scenario)
    assert fake.did("POST") == ["/containers/one/attach", "/containers/one/start"]
    assert (tmp_path / "one.log").read_bytes() == fake.output["one"]
    assert "/containers/one/logs" not in fake.did("GET")


def test_what_cannot_be_attached_to_is_followed_by_its_log(fake: FakeEngine, tmp_path: Path) -> None:
    """Where the engine attaches nobody, it must start a container all the same, and the log be what it has."""
    fake.output["one"] = b"up\n"
    refusal = (500, {"message": "no"})
    fake.before = lambda method, path: refusal if (method, path) == ("GET", "/containers/one/json") else None

    async def scenario(made: Watch) -> None:
        _create(fake, made.engine, tmp_path, ["one"])
        assert await made.engine.start_created("s", ["one"], lambda: False) == {}
        fake.before = lambda _, __: None
        made.send(made.event("start", "one", **{objects.SERVICE: "one"}))
        await made.until(lambda: made.told)
        await asyncio.wait_for(made.engine.containers["s/one"].followed.wait(), BUDGET)

    watch(fake, tmp_path, scenario)
    assert (tmp_path / "one.log").read_bytes() == b"up\n"


def test_what_the_engine_does_not_start_is_told_in_its_words(fake: FakeEngine, tmp_path: Path) -> None:
    """A start that is refused must be told with the service's name and the engine's words; the others must run."""
    refusal = (500, {"message": "port is already allocated"})
    fake.before = lambda _, path: refusal if path == "/containers/two/start" else None

    async def scenario(made: Watch) -> None:
        _create(fake, made.engine, tmp_path, ["one", "two", "three"])
        refused = await made.engine.start_created("s", ["one", "two", "three"], lambda: False)
        assert refused == {"two": "the engine refused: port is already allocated"}

    watch(fake, tmp_path, scenario)
    assert fake.created == {"two"}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, ""),
        (3, "its hook 'work' ended with exit code 3"),
        (None, "its hook 'work' ended its output, and the engine does not know its exit code"),
    ],
)
def test_a_hooks_exit_code_is_waited_for(fake: FakeEngine, tmp_path: Path, code: int | None, told: str) -> None:
    """A hook must be judged by its exit code, which an engine knows a little later than that the output has ended."""
    said = [
        {"Running": True, "ExitCode": None},
        {"Running": True, "ExitCode": None},
        {"Running": False, "ExitCode": code},
    ]
    answers: dict[str, Any] = {"/containers/c1/exec": {"Id": "e1"}, "/exec/e1/start": ""}

    def answer(_: str, path: str) -> tuple[int, Any] | None:
        if path == "/exec/e1/json":
            return 200, said.pop(0)
        return (200, answers[path]) if path in answers else None

    fake.before = answer
    hook: Hook = {"command": ["work"], "environment": [], "user": "", "working_dir": "", "privileged": False}

    async def scenario(_: Watch) -> None:
        calls = Calls(fake.daemon, objects.Claim(ENV, NONCE, KEY))
        with pytest.raises(HarnessError, match=f"^{re.escape(told)}$") if told else contextlib.nullcontext():
            await hooks.run(calls, "c1", hook, BUDGET)

    watch(fake, tmp_path, scenario)
    assert said == []


def test_nothing_is_started_of_a_stack_that_is_given_up(fake: FakeEngine, tmp_path: Path) -> None:
    """Once a stack is given up no more of it must be started, and whoever removes it must wait for the starts."""
    given_up, let_go = threading.Event(), threading.Event()

    def held(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/start"):
            let_go.wait(BUDGET)

    fake.before = held

    async def scenario(made: Watch) -> None:
        names = [f"n{number}" for number in range(STARTS_AT_ONCE + 3)]
        _create(fake, made.engine, tmp_path, names)
        starts = asyncio.create_task(made.engine.start_created("s", names, given_up.is_set))
        await made.until(lambda: len(_starts(fake)) == STARTS_AT_ONCE)
        given_up.set()
        ended = asyncio.create_task(made.engine.starts_ended("s"))
        await _pause(0.05)
        assert not ended.done()
        let_go.set()
        await asyncio.wait_for(ended, BUDGET)
        assert await starts == {}
        assert len(fake.created) == 3

    watch(fake, tmp_path, scenario)


def test_a_quiet_stream_that_breaks_is_no_lost_engine(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine whose stream was silent for long and breaks off must be asked again before it counts as lost."""
    monkeypatch.setattr(watching, "LOST_AFTER", 0.3)

    async def scenario(made: Watch) -> None:
        await _pause(0.5)
        fake.streams[-1].put(None)
        await made.until(lambda: len(fake.streams) == 2)
        await made.until(lambda: fake.did("GET")[-1] == "/containers/json")

    assert watch(fake, tmp_path, scenario).told == []


def test_an_engine_that_says_nothing_is_lost(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that goes on accepting but answers nothing must be told as lost as soon as one that is gone."""
    monkeypatch.setattr(watching, "LOST_AFTER", 0.3)
    monkeypatch.setattr(watching, "PING_BUDGET", 0.1)

    async def scenario(made: Watch) -> None:
        made.fake.path.rename(tmp_path / "away.sock")
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(made.fake.path))
            silent.listen()
            made.fake.streams[-1].put(None)
            await made.until(lambda: made.told)

    made = watch(fake, tmp_path, scenario)
    assert made.told == [("engine-lost", "", None)]
    assert "no answer in 0.1 s" in made.engine.lost


def test_an_engine_that_is_gone_is_lost_and_may_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not answer for long must be told as lost once, and as back when it answers again."""
    monkeypatch.setattr(watching, "LOST_AFTER", 0.3)
    folder = tmp_path / "run"
    folder.mkdir()
    first = FakeEngine(folder / "docker.sock")
    second = FakeEngine(folder / "docker.sock")

    async def scenario() -> Watch:
        with first.running():
            made = Watch(first, tmp_path)
            await made.engine.opened()
            first.streams[-1].put(None)
            first.path.rename(folder / "away.sock")
        await made.until(lambda: made.engine.lost)
        with second.running():
            await made.until(lambda: len(made.told) == 2)
            made.fake = second
            await made.end()
        return made

    made = asyncio.run(scenario())
    assert [event for event, _, _ in made.told] == ["engine-lost", "engine-back"]
    assert made.engine.lost == ""


@pytest.mark.parametrize(
    "labels",
    [
        {objects.NONCE: "copied"},
        {objects.SEAL: ""},
        {objects.SEAL: seal(KEY, "container", "c1-name", LABELS)},
        {objects.SERVICE: "other"},
        {objects.STACK: "other"},
    ],
)
def test_a_look_takes_nobody_elses_container(fake: FakeEngine, tmp_path: Path, labels: dict[str, str]) -> None:
    """A look at the engine must need the same proofs as an event: what it finds can be killed later."""
    fake.containers["theirs"] = {**LABELS, **labels}

    async def scenario(made: Watch) -> None:
        await made.engine.refresh()

    made = watch(fake, tmp_path, scenario)
    assert (made.told, made.web.container) == ([], "")


def test_a_look_that_is_out_of_date_ends_nothing(fake: FakeEngine, tmp_path: Path) -> None:
    """A container that was started again while the engine was asked must not be told as ended."""
    fake.containers["c1"] = LABELS
    fake.exited["c1"] = 1

    def started_again(_: str, path: str) -> None:
        if path == "/containers/c1/json":
            fake.exited.clear()

    async def scenario(made: Watch) -> None:
        made.send(made.event("start"))
        await made.until(lambda: made.told)
        await asyncio.wait_for(made.web.followed.wait(), BUDGET)
        fake.exited["c1"] = 1
        await made.engine.refresh()

    fake.before = started_again
    made = watch(fake, tmp_path, scenario)
    assert made.told == [("started", "c1", None)]
    assert made.web.running


def test_an_end_whose_start_was_lost_is_told(fake: FakeEngine, tmp_path: Path) -> None:
    """Where the start of a container was never told, its end must be, once, with its exit code."""
    fake.containers["c1"] = LABELS
    fake.exited["c1"] = 3

    async def scenario(made: Watch) -> None:
        made._nano = AFTER
        for _ in range(2):
            made.send(made.event("die", exitCode="3"))
        await made.until(lambda: len(made.told) >= 2)
        made.send(made.event("oom"))
        await made.until(lambda: made.web.oom)

    made = watch(fake, tmp_path, scenario)
    assert made.told == [("started", "c1", None), ("exit", "c1", 3)]
    assert made.web.starts == 1


def test_the_end_of_a_later_life_whose_start_was_lost_is_told(fake: FakeEngine, tmp_path: Path) -> None:
    """Where a container was started again and only its second end was told, that end must count as of another life."""
    fake.containers["c1"] = LABELS

    async def scenario(made: Watch) -> None:
        made.send(made.event("start"))
        made.send(made.event("die", exitCode="0"))
        await made.until(lambda: len(made.told) == 2)
        fake.exited["c1"] = 7
        made._nano = AFTER
        made.send(made.event("die", exitCode="7"))
        await made.until(lambda: len(made.told) == 4)

    made = watch(fake, tmp_path, scenario)
    assert made.told[2:] == [("started", "c1", None), ("exit", "c1", 7)]


def test_an_end_that_was_before_its_start_was_told_is_found(fake: FakeEngine, tmp_path: Path) -> None:
    """An end that was lost must be found by asking, even when its time is before that of the event of the start."""
    fake.containers["c1"] = LABELS

    async def scenario(made: Watch) -> None:
        made._nano = AFTER
        made.send(made.event("start"))
        await made.until(lambda: made.told)
        fake.exited["c1"] = 3
        await made.engine.refresh()
        assert made.told[1:] == [("exit", "c1", 3)]
        made.send(made.event("die", exitCode="3"))  # it comes after all
        made.send(made.event("oom"))
        await made.until(lambda: made.web.oom)

    made = watch(fake, tmp_path, scenario)
    assert made.told == [("started", "c1", None), ("exit", "c1", 3)]
