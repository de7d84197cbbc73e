from __future__ import annotations

import os
import re
import socket
import struct
import sys
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import TESTS
from servers import Web, free_port, raw_server

import harness
from harness import BrokenStack, HarnessError, clock, procs
from harness.clock import Deadline, now
from harness.helpers.kafka import Kafka
from harness.readiness import (
    Asker,
    Hopeless,
    Stop,
    Target,
    ask_once,
    probes,
    start_again,
    start_probe,
    wait_until_ready,
)
from harness.stack import HealthCheck, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.readiness import Waited

BROKER = TESTS / "diagnosis" / "broker.py"

kafka_stack = harness.stack_fixture("kafka", scope="module")


# -- the wait -----------------------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """An asker that answers from a list, the last answer again and again, and notes when it was asked."""

    name: str
    answers: list[str]
    needed: int = 1
    port: int | None = None
    asked: list[float] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def ask(self) -> str:
        self.asked.append(now())
        self.log.append(self.name)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        """Hold nothing."""


def wait(*askers: Asker, seconds: float = 5.0, is_dead: Callable[[], bool] = lambda: False) -> Waited:
    """Wait for askers that nobody stops."""
    return wait_until_ready(askers, Deadline.after(seconds), is_dead=is_dead, stop=Stop())


def hear(asker: Asker, wanted: str) -> bool:
    """Ask until an answer is ``wanted``; a busy machine may have others come first."""
    return any(asker.ask() == wanted for _ in clock.poll(Deadline.after(30)))


def test_probes_are_asked_in_order() -> None:
    """A probe must not be asked before the one in front of it holds, nor again when it has held."""
    log: list[str] = []
    one, two = Scripted("one", ["no", "no", ""], log=log), Scripted("two", ["no", ""], log=log)
    waited = wait(one, two)
    assert waited.ready
    assert log == ["one", "one", "one", "two", "two"]


def test_nothing_to_ask_is_ready() -> None:
    """Without probes a service must be ready at once."""
    assert wait().ready


def test_two_successes_must_lie_apart() -> None:
    """A probe that needs two successes must get them in a row, 100 ms or more apart."""
    asker = Scripted("p", [""], needed=2)
    assert wait(asker).ready
    assert len(asker.asked) == 2
    assert asker.asked[1] - asker.asked[0] >= 0.1


def test_a_flap_is_not_ready() -> None:
    """Successes that alternate with failures must never count as two in a row."""
    asker = Scripted("p", ["", "no"] * 50, needed=2)
    waited = wait(asker, seconds=0.8)
    assert (waited.ready, waited.dead, waited.observation) == (False, False, "no")
    assert len(asker.asked) > 4


def test_a_flap_begins_anew() -> None:
    """After a failure both successes must come again."""
    asker = Scripted("p", ["", "no", "", ""], needed=2)
    assert wait(asker).ready
    assert len(asker.asked) == 4
    assert asker.asked[3] - asker.asked[2] >= 0.1


def test_a_dead_service_ends_the_wait_at_once() -> None:
    """When the service has ended, the wait must end long before its deadline and keep the last observation."""
    asker = Scripted("p", ["not yet"])
    start = now()
    waited = wait(asker, seconds=60, is_dead=lambda: len(asker.asked) >= 3)
    assert (waited.ready, waited.dead, waited.probe, waited.observation) == (False, True, "p", "not yet")
    assert now() - start < 30


def test_a_service_that_is_dead_already_is_not_asked() -> None:
    """A dead service must not be taken for ready, whatever its probes would say."""
    asker = Scripted("p", [""])
    waited = wait(asker, is_dead=lambda: True)
    assert (waited.ready, waited.dead, asker.asked) == (False, True, [])


def test_a_stop_ends_the_wait_at_once() -> None:
    """A stop from another thread must end the wait, neither ready nor dead."""
    stop, asker = Stop(), Scripted("p", ["not yet"])
    timer = threading.Timer(0.1, stop.stop)
    timer.start()
    start = now()
    waited = wait_until_ready([asker], Deadline.after(60), is_dead=lambda: False, stop=stop)
    timer.join()
    assert (waited.ready, waited.dead) == (False, False)
    assert now() - start < 30


def test_news_are_heard_by_every_wait() -> None:
    """Each subscriber must be told of every news."""
    stop = Stop()
    events = [stop.subscribe(), stop.subscribe()]
    stop.notify()
    assert [event.is_set() for event in events] == [True, True]
    assert not stop.stopped


def test_news_are_passed_on_until_they_are_not_wanted() -> None:
    """What a wait hears must reach those behind it, and that it is over even when it was before; until it is enough."""
    far, near, late = Stop(), Stop(), Stop()
    far.tell(near)
    heard = near.subscribe()
    far.notify()
    assert heard.is_set()
    heard.clear()
    far.forget(near)
    far.stop()
    assert not heard.is_set()
    assert not near.stopped
    far.tell(late)
    assert late.stopped


def test_history_keeps_the_last_distinct_observations() -> None:
    """Of what was seen, the last five distinct observations must be kept, oldest first, with their probe."""
    asker = Scripted("p", ["a", "a", "b", "b", "c", "d", "e", "f"])
    waited = wait(asker, seconds=0.3)
    assert [entry.partition(" s ")[2] for entry in waited.history] == ["p: b", "p: c", "p: d", "p: e", "p: f"]
    moments = [float(entry.partition(" s ")[0]) for entry in waited.history]
    assert moments == sorted(moments)
    assert waited.observation == "f"


def test_the_same_words_of_two_probes_are_two_observations() -> None:
    """A second probe that says what the first one said must have its own entry."""
    waited = wait(Scripted("one", ["no", ""]), Scripted("two", ["no"]), seconds=0.2)
    assert [entry.partition(" s ")[2] for entry in waited.history] == ["one: no", "two: no"]
    assert (waited.probe, waited.observation) == ("two", "no")


def test_an_observation_belongs_to_its_probe() -> None:
    """What an earlier probe said must not be told as said by the one that was asked last."""
    waited = wait(Scripted("one", ["no", ""]), Scripted("two", [""], needed=100), seconds=0.2)
    assert (waited.ready, waited.probe, waited.observation) == (False, "two", "")


def test_the_deadline_ends_the_wait() -> None:
    """The wait must last as long as its deadline, hardly longer, and say how long it has asked."""
    start = now()
    waited = wait(Scripted("p", ["no"]), seconds=0.3)
    spent = now() - start
    assert not waited.ready
    assert 0.3 <= spent < 30
    assert 0.1 < waited.seconds <= spent


def test_one_question_is_asked_after_the_deadline() -> None:
    """Even a wait whose deadline has passed must ask once."""
    assert wait(Scripted("p", [""]), seconds=0).ready


def test_a_guard_ends_the_wait() -> None:
    """A guard's error must come out of the wait at once."""

    def guard() -> None:
        raise HarnessError("the stack is dead")

    clock.add_guard(guard)
    try:
        with pytest.raises(HarnessError, match=r"^the stack is dead$"):
            wait(Scripted("p", ["no"]), seconds=30)
    finally:
        clock.remove_guard(guard)


@dataclass
class Hung(Scripted):
    """An asker that does not answer before it is given up."""

    given_up: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> str:
        self.asked.append(now())
        self.given_up.wait(90)
        return ""

    def cancel(self) -> None:
        self.given_up.set()


def test_a_probe_that_does_not_answer_cannot_hold_up_the_wait() -> None:
    """The wait must end at its deadline, say for how long which probe has not answered, and give the answer up."""
    asker = Hung("python checks:ready", [])
    waited = wait(asker, seconds=1.2)
    assert not waited.ready
    assert 1.2 <= waited.seconds < 30
    assert re.fullmatch(r"python checks:ready has not answered for [1-9]\d*\.\d s", waited.observation)
    assert len(asker.asked) == 1
    assert asker.given_up.is_set()


def test_a_stop_and_a_death_end_a_wait_whose_probe_does_not_answer() -> None:
    """A stop, and the end of the service, must be heeded at once while a probe is being asked."""
    stop = Stop()
    timer = threading.Timer(0.1, stop.stop)
    timer.start()
    began = now()
    assert not wait_until_ready([Hung("p", [])], Deadline.after(60), is_dead=lambda: False, stop=stop).ready
    timer.join()
    assert wait(Hung("p", []), seconds=60, is_dead=lambda: now() - began > 0.3).dead
    assert now() - began < 30


def test_what_a_slow_probe_raises_ends_the_wait() -> None:
    """What a probe raises aside must come out of the wait."""

    class Broken(Hung):
        def ask(self) -> str:
            raise BrokenStack("cannot be asked")

    with pytest.raises(BrokenStack, match=r"^cannot be asked$"):
        wait(Broken("p", []))


def test_what_is_hopeless_ends_the_wait_at_once() -> None:
    """What no waiting will change must end the wait, and be its last observation."""

    class Lost(Scripted):
        def ask(self) -> str:
            raise Hopeless("curl: not found")

    waited = wait(Lost("healthy", []), seconds=60)
    assert (waited.ready, waited.dead, waited.hopeless) == (False, False, True)
    assert (waited.probe, waited.observation) == ("healthy", "curl: not found")
    assert waited.seconds < 30


def test_services_are_asked_once_within_a_bound() -> None:
    """Each probe must be asked once, all at a time; which does not hold or answer in time must be told."""
    hung, well = Hung("http /", []), Scripted("tcp 80", [""])
    lost = Scripted("exec check", ["exit code 1", ""])
    began = now()
    answers = ask_once({"a": [well, hung], "b": [lost], "c": [Scripted("p", [""])], "d": []}, 2.5)
    assert now() - began < 30
    assert answers == {"a": "http /: no answer in 2.5 s", "b": "exec check: exit code 1", "c": "", "d": ""}
    assert (len(well.asked), len(lost.asked), len(hung.asked)) == (1, 1, 1)
    assert hung.given_up.is_set()


# -- the probes ---------------------------------------------------------------------------------------------------


def probe(target: Target, index: int = 0, **fields: Any) -> Asker:
    """Start a probe as users write it."""
    return start_probe(Probe.model_validate(fields), index, target)


def at(port: int, **more: Any) -> Target:
    """Return a service that publishes port 80 as ``port`` of the loopback interface."""
    return Target("web", "stack", {80: ("127.0.0.1", port)}, **more)


NOWHERE = at(1)


@pytest.mark.parametrize(
    ("fields", "answer", "seen"),
    [
        ({}, (200, b""), ""),
        ({}, (503, b"busy"), "/: status 503, 200 was needed: 'busy'"),
        ({"path": "/health"}, (404, b""), "/health: status 404, 200 was needed: ''"),
        ({"status": [503]}, (503, b""), ""),
        ({"port": 80, "json": {"a.b": 1}}, (200, b'{"a": {"b": 1}}'), ""),
        ({"json": {"status": "green"}}, (200, b'{"status": "red"}'), "status is 'red', 'green' was needed"),
        ({"json": {"status": "green"}}, (200, b"<html>"), "/: the answer is no JSON: '<html>'"),
        (
            {"json": {"status": "green"}},
            (500, b'{"status": "green"}'),
            '/: status 500, 200 was needed: \'{"status": "green"}\'',
        ),
    ],
)
def test_http_is_judged_by_status_and_json(fields: dict[str, Any], answer: tuple[int, bytes], seen: str) -> None:
    """An HTTP probe must hold for a wanted status and JSON, else say what came."""
    with Web(answer).running() as web:
        asker = probe(at(web.port), http=fields)
        assert asker.ask() == seen
    assert asker.name == f"http {fields.get('path', '/')}"
    assert asker.needed == (1 if "json" in fields else 2)


def test_http_where_nothing_listens() -> None:
    """A refused connection must be an observation that has the address and the port."""
    port = free_port()
    assert probe(at(port), http={"path": "/x"}).ask() == f"127.0.0.1:{port}/x: Connection refused"


def test_http_with_json_that_is_too_deep() -> None:
    """JSON that cannot be read must be an observation, however it fails."""
    with Web((200, b"[" * 100_000)).running() as web:
        assert probe(at(web.port), http={"json": {"a": 1}}).ask().startswith("/: the answer is no JSON: '[[[")


def test_tcp_holds_when_a_connection_stays_open() -> None:
    """A server that keeps a connection must be listening, and be asked twice."""
    with raw_server(lambda _, over: over.wait(60)) as port:
        asker = probe(at(port), tcp=80)
        assert asker.ask() == ""
    assert (asker.name, asker.needed) == ("tcp 80 (listening)", 2)


def test_tcp_holds_when_the_server_speaks_first() -> None:
    """A banner must not be taken for a close."""
    with raw_server(lambda connection, _: connection.sendall(b"220 hello\r\n")) as port:
        assert probe(at(port), tcp=80).ask() == ""


def test_tcp_where_nothing_listens() -> None:
    """A refused connection must be told with its address."""
    port = free_port()
    assert probe(at(port), tcp=80).ask() == f"127.0.0.1:{port}: Connection refused"


def test_tcp_that_is_closed_at_once_is_not_ready() -> None:
    """A proxy that accepts for nobody closes at once: that must not be taken for listening."""
    with raw_server(lambda *_: None) as port:
        waited = wait(probe(at(port), tcp=80), seconds=0.3)
    assert not waited.ready
    assert waited.observation == f"127.0.0.1:{port} accepted and closed at once"


def test_tcp_that_is_reset_is_not_ready() -> None:
    """A connection that is reset must be an observation."""

    def reset(connection: socket.socket, _: threading.Event) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_server(reset) as port:
        assert probe(at(port), tcp=80).ask() == f"127.0.0.1:{port}: Connection reset by peer"


def test_a_log_is_read_from_its_start_only(tmp_path: Path) -> None:
    """What an earlier life of the service wrote must not count; a later line must, also behind other bytes."""
    log = tmp_path / "web.log"
    log.write_bytes(b"ready 1\n")
    target = at(1)
    asker = probe(target, log=r"^ready \d$")
    target.log, target.log_start = log, log.stat().st_size
    assert (asker.name, asker.ask()) == ("log '^ready \\\\d$'", "no line matches '^ready \\\\d$' yet")
    with log.open("ab") as file:
        file.write(b"\xff\xfe\x00 not UTF-8 \x80\n")
    assert asker.ask() != ""
    with log.open("ab") as file:
        file.write(b"ready 2\n")
    assert asker.ask() == ""


def test_a_log_that_does_not_exist_is_not_ready(tmp_path: Path) -> None:
    """A service that has no log yet must be not ready, not an error."""
    assert probe(at(1, log=tmp_path / "gone.log"), log="x").ask() == "no line matches 'x' yet"


def test_a_file_is_looked_for_where_it_is_mounted(tmp_path: Path) -> None:
    """A path in the container must be looked for in the folder that is mounted there, the longest one first."""
    (tmp_path / "inner").mkdir()
    target = at(1, mounts={"/data": str(tmp_path), "/data/deep": str(tmp_path / "inner")})
    asker = probe(target, file="/data/deep/done")
    assert (asker.name, asker.ask()) == ("file /data/deep/done", "/data/deep/done does not exist")
    (tmp_path / "done").touch()
    assert asker.ask() != ""
    (tmp_path / "inner" / "done").touch()
    assert asker.ask() == ""


@pytest.mark.parametrize(
    ("path", "mapped"),
    [("/data", "/here"), ("/data/a", "/here/a"), ("/database", "/database"), ("relative", "relative")],
)
def test_only_mounted_paths_are_mapped(path: str, mapped: str) -> None:
    """A path that merely begins like a mounted one must stay."""
    assert str(at(1, mounts={"/data": "/here"}).map_path(path)) == mapped


def python(code: str) -> list[str]:
    """Return a command that runs Python code; it has no path of its own that a mount could change."""
    return [sys.executable, "-c", code]


def test_a_command_runs_as_the_service_would(tmp_path: Path) -> None:
    """A command must have the service's environment and folder, and container paths mapped."""
    (tmp_path / "mounted").mkdir()
    code = (
        "import os, sys; assert os.environ['NAME'] == 'value'; assert 'HOME' not in os.environ;"
        f"assert os.getcwd() == {str(tmp_path)!r}; assert sys.argv[1] == {str(tmp_path / 'mounted' / 'f')!r}"
    )
    target = at(1, env={"NAME": "value"}, cwd=tmp_path, mounts={"/in": str(tmp_path / "mounted")})
    command = [*python(code), "/in/f"]
    asker = probe(target, exec=command)
    assert asker.ask() == ""
    assert asker.name == f"exec {' '.join(command)}"


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("print('one'); print('two'); raise SystemExit(1)", "exit code 1: two"),
        ("import sys; print('out'); print('err', file=sys.stderr); sys.exit(2)", "exit code 2: err"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)"),
    ],
)
def test_a_command_that_fails_is_told(tmp_path: Path, code: str, seen: str) -> None:
    """The exit code and the last line that a command wrote must be the observation."""
    assert probe(at(1, cwd=tmp_path), exec=python(code)).ask() == f"{sys.executable}: {seen}"


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """A missing executable, and a missing folder to run it in, must be told as what they are."""
    assert probe(at(1, cwd=tmp_path), exec=["/no/such"]).ask() == "/no/such: No such file or directory"
    gone = tmp_path / "gone"
    assert probe(at(1, cwd=gone), exec=python("")).ask() == f"{gone}: No such file or directory"


def test_health_is_asked_by_its_command(tmp_path: Path) -> None:
    """A service must be healthy when its health command succeeds, and not when it fails or there is none."""
    health = tuple(python(f"import os, sys; sys.exit(not os.path.exists({str(tmp_path / 'well')!r}))"))
    asker = probe(at(1, cwd=tmp_path, health=health), healthy=True)
    assert (asker.name, asker.ask()) == ("healthy", f"{sys.executable}: exit code 1")
    (tmp_path / "well").touch()
    assert asker.ask() == ""
    assert probe(at(1), healthy=True).ask() == "no embedded.healthcheck is declared"


def test_a_command_ends_when_nobody_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is given up must end soon, with what it started, and long before its own time-out."""
    monkeypatch.setattr(probes, "EXEC_BUDGET", 60.0)
    asker = probe(at(1, cwd=tmp_path), exec=python("import os; os.fork(); os.read(os.pipe()[0], 1)"))
    answer = clock.Aside(asker.ask)
    assert not answer.is_over(0.3)
    asker.close()
    assert answer.is_over(30)


def test_a_command_that_cannot_be_found_is_hopeless(tmp_path: Path) -> None:
    """A program that is in no folder of PATH must end the wait; one that is named by its path may be written yet."""
    env = {"PATH": "/usr/bin:/bin"}
    for command in (["no-such-check", "-q"], ["sh", "-c", "no-such-check -q"], ["sh", "-c", "no-such-check || exit 1"]):
        with pytest.raises(Hopeless, match="no-such-check"):
            probe(at(1, cwd=tmp_path, env=env), exec=command).ask()
        with pytest.raises(Hopeless, match="no-such-check"):
            probe(at(1, cwd=tmp_path, env=env, health=tuple(command)), healthy=True).ask()
    assert probe(at(1, cwd=tmp_path, env=env), exec=["sh", "-c", "/no/such -q"]).ask() != ""


def health(tmp_path: Path, **check: Any) -> tuple[Asker, Path]:
    """Return a healthcheck that writes a letter each time, and succeeds when ``well`` is there; and where it writes."""
    runs, well = tmp_path / "runs", tmp_path / "well"
    words = ("/bin/sh", "-c", f"printf x >> {runs}; test -e {well}")
    checked = HealthCheck(test=words, **check)
    return probe(at(1, cwd=tmp_path, env={"PATH": "/bin"}, health=words, check=checked), healthy=True), runs


def test_a_healthcheck_is_asked_once_in_an_interval(tmp_path: Path) -> None:
    """With an interval the check must be run so often, the first time at once; without one, whenever it is asked."""
    asker, runs = health(tmp_path, interval="400ms")
    began = now()
    assert not wait(asker, seconds=3).ready
    assert 2 <= len(runs.read_text()) <= 1 + int((now() - began) / 0.4)
    (tmp_path / "well").touch()
    assert wait(asker, seconds=60).ready
    runs.unlink()
    often, _ = health(tmp_path)
    assert [often.ask() for _ in range(3)] == [""] * 3
    assert runs.read_text() == "xxx"


def test_a_healthcheck_has_its_own_time_out(tmp_path: Path) -> None:
    """A check that does not end in its time-out must be ended, and fail."""
    words = (sys.executable, "-c", "import signal; signal.pause()")
    check = HealthCheck(test=words, timeout="300ms")
    began = now()
    said = probe(at(1, cwd=tmp_path, health=words, check=check), healthy=True).ask()
    assert said == f"{sys.executable}: no end in 0.3 s"
    assert now() - began < 30


def test_a_healthcheck_is_unhealthy_after_its_retries(tmp_path: Path) -> None:
    """So many failures in a row must make it unhealthy, but for those in its start period; a success mends it."""
    asker, _ = health(tmp_path, interval="10ms", retries=2, start_period="300ms")
    wait(asker, seconds=0.15)
    assert "unhealthy" not in asker.ask()
    waited = wait(asker, seconds=1.0)
    assert re.match(r"unhealthy, \d+ checks in a row failed: /bin/sh: exit code 1", waited.observation)
    (tmp_path / "well").touch()
    assert wait(asker, seconds=5).ready


def test_an_unhealthy_service_that_another_awaits_is_hopeless(tmp_path: Path) -> None:
    """As with Compose, a service that others wait for must end the wait when it is unhealthy."""
    check = HealthCheck(test="false", interval="10ms", retries=2)
    target = at(1, cwd=tmp_path, env={"PATH": "/bin"}, health=("/bin/sh", "-c", "false"), check=check, is_awaited=True)
    waited = wait(probe(target, healthy=True), seconds=30)
    assert waited.hopeless
    assert waited.observation == "unhealthy, 2 checks in a row failed: /bin/sh: exit code 1"


def test_of_a_service_that_was_ready_only_its_present_is_asked(tmp_path: Path) -> None:
    """What tells of a start only, a log and a message, must be left out later; a broker must only be spoken to."""

    def again(**fields: Any) -> Asker | None:
        target = at(1, brokers={0: f"127.0.0.1:{free_port()}"}, log=tmp_path / "log")
        return start_again(Probe.model_validate(fields), 0, target)

    assert again(log="x") is None
    assert again(kafka={"message": {"topic": "t"}}) is None
    broker = again(kafka={"topics": {"t": 1}})
    assert broker is not None
    assert broker.ask().endswith("Connection refused")
    assert again(tcp=80) is not None


@pytest.mark.parametrize("fields", [{"tcp": 80}, {"http": {}}, {"http": {"json": {"a": 1}}}], ids=str)
def test_an_answer_of_a_stranger_does_not_count(fields: dict[str, Any]) -> None:
    """A probe that holds must be hopeless when who answered is a stranger, who must be named; a failure stays one."""
    asked: list[tuple[str, int]] = []

    def stranger(host: str, port: int) -> str:
        asked.append((host, port))
        return "pid 7 (intruder)"

    with Web((200, b'{"a": 1}')).running() as web:
        with pytest.raises(Hopeless, match=rf"^127\.0\.0\.1:{web.port} is held by pid 7 \(intruder\)$"):
            probe(at(web.port, stranger=stranger), **fields).ask()
        assert probe(at(web.port, stranger=lambda *_: ""), **fields).ask() == ""
    assert asked == [("127.0.0.1", web.port)]
    assert probe(at(free_port(), stranger=stranger), **fields).ask() != ""


@pytest.mark.parametrize("fields", [{"tcp": 80}, {"http": {}}, {"kafka": {}}], ids=str)
def test_where_nothing_can_answer_nothing_is_asked(fields: dict[str, Any]) -> None:
    """A port that is known to have no listener must not be connected to; that must be the observation."""
    came: list[bytes] = []
    with raw_server(lambda *_: came.append(b"")) as port:
        brokers = {0: f"127.0.0.1:{port}"}
        target = at(port, brokers=brokers, silence=lambda host, number: f"{host}:{number} is silent")
        assert probe(target, **fields).ask() == f"127.0.0.1:{port} is silent"
    assert came == []


def test_a_connection_that_was_accepted_for_nobody_is_not_ready() -> None:
    """Where a connection is held open and nothing listens behind it, as with a proxy, the port must not count."""
    with raw_server(lambda _, over: over.wait(60)) as port:
        target = at(port, refuted=lambda host, number: f"{host}:{number} is silent")
        assert probe(target, tcp=80).ask() == f"127.0.0.1:{port} is silent"


# What the checks below answer or raise.
ANSWERS: dict[str, Any] = {}


def check(target: Target) -> Any:
    """Answer what the test wants, after looking at the target."""
    assert target.service == "web"
    answer = ANSWERS["now"]
    if isinstance(answer, BaseException):
        raise answer
    return answer


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (True, ""),
        (None, ""),
        ("", ""),
        ("still loading", "still loading"),
        (False, f"{__name__}:check returned False"),
        (0, f"{__name__}:check returned 0"),
        (
            ConnectionRefusedError(111, "refused"),
            f"{__name__}:check raised ConnectionRefusedError: [Errno 111] refused",
        ),
        (KeyError("state"), f"{__name__}:check raised KeyError: 'state'"),
        (SystemExit(0), f"{__name__}:check raised SystemExit: 0"),
        (KeyboardInterrupt("no"), f"{__name__}:check raised KeyboardInterrupt: no"),
        (AssertionError("2 of 3"), f"{__name__}:check raised AssertionError: 2 of 3"),
        (HarnessError("no answer"), f"{__name__}:check raised HarnessError: no answer"),
    ],
    ids=repr,
)
def test_a_check_in_python_answers_or_raises(answer: Any, seen: str) -> None:
    """True, None and "" must mean ready, a text or an error why not yet."""
    ANSWERS["now"] = answer
    asker = probe(NOWHERE, python=f"{__name__}:check")
    assert (asker.name, asker.ask()) == (f"python {__name__}:check", seen)


@pytest.mark.parametrize(
    "error", [TypeError("f() takes 0"), NameError("x"), AttributeError("no a"), NotImplementedError("later")], ids=repr
)
def test_a_mistake_in_a_check_ends_the_wait_at_once(error: Exception) -> None:
    """What no waiting can mend must break the stack at the first question, with the check and the cause."""
    ANSWERS["now"] = error
    start = now()
    with pytest.raises(BrokenStack) as caught:
        wait(probe(NOWHERE, python=f"{__name__}:check"), seconds=60)
    assert str(caught.value) == (
        f"Probe python {__name__}:check of service 'web' cannot be asked: {type(error).__name__}: {error}"
    )
    assert (caught.value.service, caught.value.__cause__) == ("web", error)
    assert now() - start < 30


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such_module:f", "ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{__name__}:nothing", f"AttributeError: module '{__name__}' has no attribute 'nothing'"),
    ],
)
def test_a_check_that_does_not_exist_ends_the_wait_at_once(reference: str, words: str) -> None:
    """A module or function that does not exist must break the stack at the first question."""
    with pytest.raises(BrokenStack) as caught:
        wait(probe(NOWHERE, python=reference), seconds=30)
    assert caught.value.summary == f"Probe python {reference} of service 'web' cannot be asked: {words}"


# -- the kafka probe ----------------------------------------------------------------------------------------------


@pytest.fixture
def kafka(kafka_stack: harness.Stack) -> Iterator[Kafka]:
    """The broker."""
    with Kafka(kafka_stack.endpoint("kafka", 9092)) as client:
        yield client


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    """A topic of two partitions that only this test has."""
    name = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({name: 2})
    yield name
    kafka.delete_topics(name)


@pytest.fixture
def start_kafka(kafka: Kafka) -> Iterator[Callable[..., Asker]]:
    """Start kafka probes of the broker, which are closed at the end."""
    started: list[Asker] = []

    def start(**fields: Any) -> Asker:
        started.append(probe(at(1, brokers={0: kafka.bootstrap}), kafka=fields))
        return started[-1]

    yield start
    for asker in started:
        asker.close()


@pytest.mark.parametrize("fields", [{}, {"topics": {"t": 1}}, {"message": {"topic": "t"}}])
def test_a_broker_that_is_not_there_is_not_usable(fields: dict[str, Any]) -> None:
    """A broker that refuses connections must be told as such, by every form of the probe, at once."""
    bootstrap = f"127.0.0.1:{free_port()}"
    start = now()
    asker = probe(at(1, brokers={3: bootstrap}), index=3, kafka=fields)
    assert asker.ask() == f"broker {bootstrap}: Connection refused"
    asker.close()
    assert now() - start < 4  # without asking a client, which would take five seconds


def test_a_broker_that_says_nothing_is_not_usable() -> None:
    """An open port that does not speak Kafka must be an observation."""
    with raw_server(lambda _, over: over.wait(60)) as port:
        asker = probe(at(1, brokers={0: f"127.0.0.1:{port}"}), kafka={})
        seen = asker.ask()
        asker.close()
    assert seen == f"broker 127.0.0.1:{port}: timed out"


def test_a_slow_broker_is_heard(tmp_path: Path) -> None:
    """A broker that takes longer for each answer than a young probe waits must be understood all the same."""
    port = free_port()
    argv = [sys.executable, str(BROKER), "127.0.0.1", str(port), f"127.0.0.1:{port}", "t=1"]
    with (tmp_path / "log").open("wb") as output:
        process = procs.spawn(argv, output=output, env={**os.environ, "SECONDS": "0.4"})
    asker = probe(at(1, brokers={0: f"127.0.0.1:{port}"}), kafka={"topics": {"t": 3}})
    try:
        assert hear(asker, "topic 't' has 1 of 3 partitions")
    finally:
        asker.close()
        process.kill()
        process.wait(30)


def test_a_usable_broker_is_ready_and_left_clean(kafka: Kafka, start_kafka: Callable[..., Asker]) -> None:
    """A broker must be ready after a round trip, of which no topic is left."""
    asker = start_kafka()
    assert wait(asker, seconds=30).ready
    assert asker.name == "kafka"
    assert [name for name in kafka.topics() if name.startswith("harness-probe-")] == []


def test_missing_topics_and_partitions_are_told(kafka: Kafka, topic: str, start_kafka: Callable[..., Asker]) -> None:
    """Topics that are missing or too narrow must be told, and hold once they are there; none is created by asking."""
    unknown = f"test-{uuid.uuid4().hex}"
    asker = start_kafka(topics={topic: 2, unknown: 1})
    assert hear(asker, f"topic {unknown!r} does not exist")
    assert hear(start_kafka(topics={topic: 3}), f"topic {topic!r} has 2 of 3 partitions")
    assert unknown not in kafka.topics()
    kafka.create_topics({unknown: 1})
    waited = wait(asker, seconds=30)
    kafka.delete_topics(unknown)
    assert waited.ready


def test_only_a_message_since_the_start_counts(kafka: Kafka, topic: str, start_kafka: Callable[..., Asker]) -> None:
    """Messages that were there before the service started must not make it ready; a later one must."""
    kafka.send(topic, "old", partition=1)
    asker = start_kafka(message={"topic": topic})
    assert asker.name == f"kafka message on {topic}"
    assert hear(asker, f"no message on {topic!r}: none came")
    kafka.send(topic, "new", partition=0)
    assert wait(asker, seconds=30).ready


def test_a_message_in_a_topic_that_came_later_counts(kafka: Kafka, start_kafka: Callable[..., Asker]) -> None:
    """In a topic that did not exist at the start, every message must count."""
    name = f"test-{uuid.uuid4().hex}"
    asker = start_kafka(message={"topic": name})
    assert hear(asker, f"topic {name!r} does not exist")
    kafka.create_topics({name: 1})
    kafka.send(name, "v")
    waited = wait(asker, seconds=30)
    kafka.delete_topics(name)
    assert waited.ready


def test_a_message_must_have_the_wanted_schema(kafka: Kafka, topic: str, start_kafka: Callable[..., Asker]) -> None:
    """A message with another file identifier must be told, and only the wanted one make ready."""
    asker = start_kafka(message={"topic": topic, "schema": "x5f2"})
    kafka.send(topic, b"\0\0\0\0f142....", partition=0)
    told = f"no message with schema x5f2 on {topic!r}: last was {topic}[0]@0 key=None 12 bytes, schema f142"
    assert hear(asker, told)
    assert not wait(asker, seconds=0.2).ready
    kafka.send(topic, b"\0\0\0\0x5f2....", partition=0)
    assert wait(asker, seconds=30).ready
