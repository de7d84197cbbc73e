"""Stacks come up in the declared order, are usable, and are gone afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_json, service, web

from harness import clock, procs
from harness.errors import BrokenStack, ConfigError, HarnessError, LeftoverError
from harness.helpers import http
from harness.keeper.messages import Lease, Services
from harness.ownership.identity import RUN_COOKIE
from harness.runs import running

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stack_is_usable_then_gone(project: Project) -> None:
    """A stack must answer at its endpoint while it is up; afterwards no process, ledger or scratch folder be left."""
    project.stack("web", {"web": web(0.2)})
    run = project.run()
    with running(run):
        stack = run.bring("web")
        assert http.ask(*_split(stack.endpoint("web", 8080))).json()["status"] == "green"
        assert stack.endpoint("web", 80) == stack.endpoint("web", 8080)
        assert stack.service("web").state == "running"
        pid = stack.service("web").pid
    assert procs.start_time_of(pid) is None
    assert project.processes() == {}
    assert project.ledgers() == []
    assert not (project.latest / "work").exists()
    assert run_json(project)["left"] == []


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


def test_a_service_is_ready_when_its_probe_holds_and_not_before(project: Project) -> None:
    """A stack must not be given out before its service is green."""
    project.stack("web", {"web": web(0.7)})
    run = project.run()
    with running(run):
        before = clock.now()
        stack = run.bring("web")
        assert http.ask(*_split(stack.endpoint("web", 8080))).status == 200
    assert clock.now() - before >= 0.7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("say:last words", "exit:3"), "Service 'dies' ended with exit code 3 before it was ready"),
        (("say:last words", "exit:0"), "Service 'dies' ended with exit code 0 before it was ready"),
        (("say:last words", "exit:3:0.3"), "Service 'dies' ended with exit code 3 before it was ready"),
    ],
    ids=["at once", "with 0", "later"],
)
def test_a_service_that_ends_ends_the_wait(project: Project, words: tuple[str, ...], says: str) -> None:
    """A service that ends before it is ready must end the wait at once, with exit code and last lines."""
    ready = [{"tcp": 8080}]
    project.stack("s", {"dies": service(*words, ports=("8080",), ready=ready), "other": web()})
    run = project.run()
    began = clock.now()
    with pytest.raises(BrokenStack) as caught:
        run.bring("s")
    assert clock.now() - began < 30
    assert str(caught.value).splitlines()[0] == f"{says} (logs/latest/services/dies.log)".replace(
        "logs", os.path.relpath(project.root / "logs")
    ) or says in str(caught.value)
    assert "  last words" in caught.value.details
    assert (caught.value.service, caught.value.exit_code) == ("dies", 12)
    assert run.environment is not None
    assert run.environment.link.ask(Services())["services"] == []


def test_a_service_that_never_gets_ready_is_named_with_what_was_seen(project: Project) -> None:
    """At the deadline, the error must name the service, the probe and its last observation."""
    project.stack(
        "s", {"slow": web(60, words=("say:still thinking",))}, **{"x-harness": {"timeouts": {"ready": "600ms"}}}
    )
    with pytest.raises(BrokenStack, match=r"Service 'slow' did not settle in 0\.\d s: /: status 503") as caught:
        project.run().bring("s")
    assert "probe: http /" in caught.value.details
    assert "  still thinking" in caught.value.details
    assert caught.value.hint == "a longer time is given by x-harness.timeouts.ready in s.yaml"


def test_of_a_service_and_one_that_waits_for_it_the_first_is_named(project: Project) -> None:
    """When the time of a stack is up, what is told must be what a service lacks, not that another waits for it."""
    slow, waits = web(60), web(compose={"depends_on": {"slow": {"condition": "service_healthy"}}})
    project.stack("s", {"waits": waits, "slow": slow}, **{"x-harness": {"timeouts": {"up": "1500ms"}}})
    with running(project.run()) as run, pytest.raises(BrokenStack) as caught:
        run.bring("s")
    assert caught.value.summary.startswith("Service 'slow' did not settle in 1.")


def test_output_that_is_no_utf8_is_kept_and_shown(project: Project) -> None:
    """A log must hold a service's bytes as they were; an error must show them escaped."""
    data = b"\xff\xfe caf\xe9 \x1b[31m\n"
    project.stack("s", {"odd": service(f"raw:{data.hex()}", "exit:1", ready=[{"log": "never"}])})
    with pytest.raises(BrokenStack) as caught:
        project.run().bring("s")
    assert (project.latest / "services" / "odd.log").read_bytes() == data
    assert r"  \xff\xfe caf\xe9 \x1b[31m" in caught.value.details


def test_standard_input_is_held_open(project: Project) -> None:
    """A service that ends with its input must not end: the keeper holds it open."""
    project.stack("s", {"reader": service("say:up", "stdin", ready=[{"log": "up"}]), "web": web(0.3)})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        assert stack.service("reader").state == "running"


def test_what_a_service_forks_goes_with_it(project: Project) -> None:
    """A daemon that left its session and parent must be gone when its stack is released."""
    project.stack("s", {"forker": service("daemon", "say:forked", "wait", ready=[{"log": "forked"}])})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        forker, daemons = stack.service("forker").pid, 0
        for _ in clock.poll(clock.Deadline.after(30)):  # it says that it has forked before its daemon has
            daemons = len([pid for pid in project.processes() if pid != forker])
            if daemons >= 2:  # the daemon and the keeper
                break
        assert daemons >= 2
        assert stack.release() == []
        assert len(project.processes()) == 1  # the keeper


def test_what_forks_while_it_is_stopped_goes_too(project: Project) -> None:
    """A daemon that is another process every 5 ms must be gone when its stack is released."""
    hopper = service("hop:20", "say:up", "wait", ready=[{"log": "up"}])
    project.stack("s", {"hopper": hopper, "web": web(words=("hop:20",))})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        for one in ("hopper", "web"):
            assert stack.service(one).state == "running"
        assert stack.release() == []
        assert procs.with_cookie(f"{RUN_COOKIE}={project.latest.name}") == {}


def test_a_subject_is_asked_before_it_is_killed(project: Project) -> None:
    """A subject must get TERM and time to end by itself; what is no subject is killed at once."""
    polite = service("polite", "say:up", "wait", ready=[{"log": "up"}])
    project.stack("s", {"subject": {**polite, "x-harness": {**polite["x-harness"], "subject": "s"}}, "part": polite})
    run = project.run()
    with running(run):
        run.bring("s")
    logs = {name: (project.latest / "services" / f"{name}.log").read_text() for name in ("subject", "part")}
    assert logs == {"subject": "up\nasked to stop\n", "part": "up\n"}


def test_a_subject_that_ignores_term_is_killed(project: Project) -> None:
    """A subject that does not end within its grace must be killed."""
    deaf = service("deaf", "say:up", "wait", ready=[{"log": "up"}], subject="s")
    project.stack("s", {"deaf": {**deaf, "stop_grace_period": "300ms"}})
    run = project.run()
    with running(run):
        run.bring("s")
        began = clock.now()
    assert 0.3 <= clock.now() - began < 8  # less than the ten seconds that it has by default


def test_what_a_launcher_launched_has_the_same_grace(project: Project) -> None:
    """A subject's child that ends some time after its parent must be given the rest of the grace."""
    both = service("polite", "child:slow:0.4,say:up,wait", "wait", ready=[{"log": "up"}], subject="s")
    project.stack("s", {"both": both})
    run = project.run()
    with running(run):
        run.bring("s")
    assert (project.latest / "services" / "both.log").read_text() == "up\nasked to stop\nended slowly\n"


def test_a_declared_stop_command_is_used(project: Project) -> None:
    """A service with ``stop`` must be asked by that command, not by TERM."""
    stop = ["python", "-c", "import os, signal; os.kill(int(open(os.environ['PIDFILE']).read()), signal.SIGTERM)"]
    script = "import os, signal; open(os.environ['PIDFILE'], 'w').write(str(os.getpid())); print('up', flush=True); "
    command = ["python", "-c", script + "signal.signal(15, lambda *_: os._exit(0)); signal.pause()"]
    embedded = {"command": command, "stop": stop, "environment": {"PIDFILE": "{data}/pid"}}
    project.stack("s", {"one": service("x", embedded=embedded, subject="s", ready=[{"log": "up"}])})
    run = project.run()
    with running(run):
        run.bring("s")
        began = clock.now()
    assert clock.now() - began < 8  # less than its grace
    assert "one/" not in (project.latest / "keeper.log").read_text()
    assert "s/one: exit code 0" in (project.latest / "keeper.log").read_text()


def test_one_shots_and_dependencies_are_obeyed(project: Project) -> None:
    """A service must start after the one-shot that it depends on has ended with 0, and after healthy ones are ready."""
    shared = {"volumes": ["shared:/shared"]}
    first = service("touch:{mount:/shared/first}", "exit:0:0.2", role="oneshot", compose=shared)
    second = web(0.3, words=("touch:{mount:/shared/second}",), compose=shared)
    depends = {"first": {"condition": "service_completed_successfully"}, "second": {"condition": "service_healthy"}}
    third = service(
        "need:{mount:/shared/first}",
        "need:{mount:/shared/second}",
        "say:both were there",
        "wait",
        ready=[{"log": "both were there"}],
        compose={**shared, "depends_on": depends},
    )
    project.stack("s", {"third": third, "second": second, "first": first}, volumes={"shared": {}})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        assert (stack.service("first").state, stack.service("first").exit_code) == ("exited", 0)
        stack.check()


def test_a_one_shot_that_fails_breaks_its_stack(project: Project) -> None:
    """A one-shot that ends with another code than 0 must break the stack, and name its code."""
    project.stack("s", {"job": service("say:no luck", "exit:4", role="oneshot")})
    with pytest.raises(BrokenStack, match="Service 'job' ended with exit code 4 and should have ended"):
        project.run().bring("s")


def test_a_seed_comes_before_the_service_that_needs_it(project: Project) -> None:
    """A seed with ``before`` must be planted after its stack's other services are ready and before that one starts."""
    shared = {"volumes": ["shared:/shared"]}
    keeper = web(compose=shared)
    user = service("need:{mount:/shared/seed}", "say:found", "wait", ready=[{"log": "found"}], compose=shared)
    command = ["touch", "/shared/seed"]
    seed = {"key": "s", "before": "user", "exec": {"service": "web", "command": command}}
    project.stack("s", {"web": keeper, "user": user}, volumes={"shared": {}}, **{"x-harness": {"seed": [seed]}})
    run = project.run()
    with running(run):
        assert run.bring("s").service("user").state == "running"


def test_a_seed_that_fails_is_named(project: Project) -> None:
    """A seed whose command fails must break the stack with the seed's key, exit code and last lines."""
    command = ["python3", "-c", "import sys; print('no room', file=sys.stderr); sys.exit(5)"]
    seed = {"key": "fill", "exec": {"service": "web", "command": command}}
    project.stack("s", {"web": web()}, **{"x-harness": {"seed": [seed]}})
    with pytest.raises(BrokenStack, match=r"Seed 'fill' in 'web': exit code 5: no room") as caught:
        project.run().bring("s")
    assert caught.value.details == (f"command: {' '.join(command)}", "no room")


def test_one_configuration_serves_the_service(project: Project) -> None:
    """A mounted file must reach the service with names as addresses and container paths as paths here."""
    (project.root / "app.ini").write_text("server = web:8080\nother = /etc/app.ini\nname = web\n")
    reader = service(
        "cat:{mount:/etc/app.ini}",
        "wait",
        ready=[{"log": "server"}],
        compose={"volumes": ["../app.ini:/etc/app.ini:ro"]},
    )
    project.stack("s", {"web": web(), "reader": reader})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        lines = stack.service("reader").logs().splitlines()
        assert lines[0] == f"server = {stack.endpoint('web', 8080)}"
        assert lines[1].endswith("/mounts/etc/app.ini")
        assert lines[2] == "name = web"
    assert (project.root / "app.ini").read_text().startswith("server = web:8080")


def test_two_environments_do_not_meet(project: Project) -> None:
    """Two runs of one stack at once must have addresses of their own and both work."""
    project.stack("web", {"web": web()})
    first, second = project.run(), project.run()
    with running(first), running(second):
        ends = {first.bring("web").endpoint("web", 8080), second.bring("web").endpoint("web", 8080)}
        assert len(ends) == 2
        assert all(http.ask(*_split(end)).status == 200 for end in ends)


def test_an_included_stack_is_shared_and_goes_with_its_last_user(project: Project) -> None:
    """Stacks that include the same one must share it; it must be gone when none of them is left."""
    project.stack("base", {"web": web()})
    for name in ("one", "two"):
        project.stack(name, {name: service("say:up", "wait", ready=[{"log": "up"}])}, include=["base.yaml"])
    run = project.run()
    with running(run):
        one, two = run.bring("one", keep_includes=False), run.bring("two", keep_includes=False)
        assert one.service("web").pid == two.service("web").pid
        one.release()
        assert two.service("web").state == "running"
        two.release()
        assert run.environment is not None
        assert run.environment.link.ask(Services())["services"] == []


def test_a_stack_that_fails_takes_no_shared_one_with_it(project: Project) -> None:
    """When a stack does not settle, the stacks that it includes and others still use must stay up."""
    project.stack("base", {"web": web()})
    project.stack("bad", {"bad": service("exit:3", ready=[{"log": "never"}])}, include=["base.yaml"])
    run = project.run()
    with running(run):
        base = run.bring("base")
        with pytest.raises(BrokenStack, match="Service 'bad' ended with exit code 3"):
            run.bring("bad")
        assert base.service("web").state == "running"
        clock.check_guards()


def test_a_stack_used_twice_goes_with_the_second_release(project: Project) -> None:
    """A stack that a run brought up twice must stay until it was released twice."""
    project.stack("s", {"web": web()})
    run = project.run()
    with running(run):
        first, second = run.bring("s"), run.bring("s")
        first.release()
        assert second.service("web").state == "running"
        second.release()
        assert run.environment is not None
        assert run.environment.link.ask(Services())["services"] == []


def test_a_service_that_dies_under_a_test_ends_its_waits(project: Project) -> None:
    """When a service is killed from outside, a wait must raise BrokenStack at once, with the signal."""
    project.stack("s", {"web": web(words=("say:hello",)), "other": web()})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        os.kill(stack.service("web").pid, signal.SIGKILL)
        began = clock.now()
        with pytest.raises(BrokenStack, match=r"Service 'web' ended with signal 9 \(SIGKILL\) under a test") as caught:
            for _ in clock.poll(clock.Deadline.after(60)):
                pass
        assert clock.now() - began < 30
        assert caught.value.exit_code_seen == -9
        assert "  hello" in caught.value.details


def test_what_a_test_does_to_a_service_is_no_fault(project: Project) -> None:
    """Killing, stopping and starting a service through its stack must not count as a broken stack."""
    project.stack("s", {"web": web()})
    run = project.run()
    with running(run):
        one = run.bring("s").service("web")
        first = one.pid
        one.kill()
        assert (one.state, one.exit_code) == ("exited", -9)
        clock.check_guards()
        one.start()
        assert (one.state, one.exit_code) == ("running", None)
        assert one.pid != first
        one.pause()
        assert one.state == "paused"
        one.unpause()
        one.restart()
        assert one.state == "running"
        clock.check_guards()


def test_a_command_runs_as_the_service_would(project: Project) -> None:
    """``exec`` must see the service's environment and mounted files, and report exit code and output."""
    (project.root / "data.txt").write_text("content")
    compose = {"volumes": ["../data.txt:/data.txt"], "environment": {"COLOUR": "red"}}
    project.stack("s", {"web": web(compose=compose)})
    run = project.run()
    with running(run):
        one = run.bring("s").service("web")
        done = one.exec(["sh", "-c", 'echo "$COLOUR"; cat "$1"; exit 7', "sh", "/data.txt"])
        assert (done.code, done.stdout) == (7, "red\ncontent")
        assert one.copy_out("/data.txt", project.root / "copy.txt").read_text() == "content"
        with pytest.raises(HarnessError, match="'nope' cannot be run in service 'web'"):
            one.exec(["nope"])


def test_an_executable_that_cannot_be_run_is_an_error_before_anything_exists(project: Project) -> None:
    """A command that is not there must be refused with exit code 10, and neither folder nor process be made."""
    bad: dict[str, Any] = {"image": "x", "x-harness": {"embedded": {"command": ["no-such-program"]}}}
    project.stack("s", {"web": web(), "bad": bad})
    with pytest.raises(ConfigError, match="executable 'no-such-program' was not found"):
        project.run().bring("s")
    assert not (project.root / "logs").exists()
    assert project.processes() == {}


def test_a_broken_block_still_gives_everything_back(project: Project) -> None:
    """When the guarded block raises, everything must be gone and the block's own error be raised."""
    project.stack("web", {"web": web()})
    run = project.run()
    with pytest.raises(ZeroDivisionError), running(run):
        _ = 1 / len(run.bring("web").service("web").name[:0])
    assert project.processes() == {}


def test_what_cannot_be_removed_is_told(project: Project) -> None:
    """Teardown that leaves something must raise LeftoverError and name it."""
    project.stack("web", {"web": web()})
    run = project.run()
    run.bring("web")
    mark = project.latest / "work" / ".harness-environment"
    with pytest.raises(LeftoverError, match=r"Teardown left 1 thing\(s\): folder .*/work") as caught, running(run):
        mark.write_text("somebody else's")
    assert caught.value.exit_code == 14
    _tidy(project, mark)


def _tidy(project: Project, mark: Path) -> None:
    """Give the folder its mark back, and have the sweep remove what is left."""
    mark.write_text(project.latest.name)
    project.wait_until_gone(10)
    project.stack("empty", {"e": service("wait", ready=[])})
    with running(project.run()) as run:
        run.bring("empty")
    assert not mark.exists()


def test_a_port_that_a_stranger_holds_everywhere_is_gone_round(project: Project) -> None:
    """When a stranger holds a port on all addresses, the service must move to 127.0.0.1, and one line name him."""
    with socket.socket() as stranger:
        stranger.bind(("0.0.0.0", 0))  # noqa: S104 - this is what is tested
        stranger.listen()
        port = stranger.getsockname()[1]
        words = (f"serve:{{address}}:{{port:{port}}}:0", "wait")
        ready = [{"http": {"port": port, "json": {"status": "green"}}}]
        project.stack("s", {"web": service(*words, ports=(f"{port}:80",), ready=ready)})
        run = project.run()
        with running(run):
            end = run.bring("s").endpoint("web", port)
            assert end.startswith("127.0.0.1:")
            assert end != f"127.0.0.1:{port}"
            assert http.ask(*_split(end)).status == 200
        (line,) = [line for line in project.said if f"port {port}/tcp" in line]
        assert f"held on every address by pid {os.getpid()} (" in line
        project.stack("s", {"web": service(*words, ports=(f"{port}:80",), ready=ready, fixed=True)})
        with pytest.raises(ConfigError) as caught:
            project.run().bring("s")
        assert re.search(rf"pid {os.getpid()} .* and it cannot move: it is fixed", caught.value.summary)


def test_a_file_without_x_harness_needs_only_its_process(project: Project) -> None:
    """A service without probes must count as ready when its published ports listen, and that be said once."""
    words = ("serve:{address}:{port:8080}:0", "wait")
    project.stack("s", {"web": service(*words, ports=("8080:80",))})
    run = project.run()
    with running(run):
        end = run.bring("s").endpoint("web", 8080)
        assert http.ask(*_split(end)).status == 200
    said = "service 'web' has no probe: it counts as ready when its ports 8080 listen"
    assert project.said.count(said) == 1


def test_healthy_asks_the_embedded_healthcheck_only(project: Project) -> None:
    """The container's healthcheck must not be run here, the embedded one must, and the former be said once."""
    marker = project.root / "ran"
    check = {"test": ["CMD", "touch", str(marker)]}
    own = {"healthcheck": {"test": ["CMD", "python", "-c", "import os, sys; sys.exit('COLOUR' not in os.environ)"]}}
    compose = {"healthcheck": check, "environment": {"COLOUR": "red"}}
    project.stack("s", {"web": web(ready=[{"healthy": True}], compose=compose, embedded=own)})
    project.stack("t", {"web": web(ready=[{"healthy": True}], compose=compose)})
    run = project.run()
    with running(run):
        run.bring("s").release()
        run.bring("t")
    assert not marker.exists()
    said = "service 'web': its container's healthcheck is ignored here"
    assert project.said.count(said) == 1


# -- what ends a wait, and what does not count ----------------------------------------------------------------------


QUIET: dict[str, Any] = {"x-harness": {"timeouts": {"ready": "60s", "up": "60s"}}}


def broken(project: Project, stack: str = "s", within: float = 20.0) -> BrokenStack:
    """Bring up a stack that must break long before its time is up; return its error."""
    began = clock.now()
    with pytest.raises(BrokenStack) as caught:
        project.run().bring(stack)
    assert clock.now() - began < within
    return caught.value


@pytest.mark.parametrize("words", [("exit:3",), ("exit:3:0.3",)], ids=["at once", "soon"])
def test_a_service_that_cannot_be_asked_must_run_for_a_moment(project: Project, words: tuple[str, ...]) -> None:
    """A service without probe and port that ends within a second must break its stack, with code and last line."""
    project.environ["HARNESS_STEADY"] = "5s"  # on a busy machine a process takes some time to come to its first word
    project.stack("s", {"worker": service("say:bad configuration", *words), "web": web()})
    error = broken(project)
    assert error.summary.startswith(f"Service 'worker' ended with exit code {words[0][5]} ")
    assert "  bad configuration" in error.details


def test_the_moment_is_a_setting_and_costs_those_with_probes_nothing(project: Project) -> None:
    """Only services that cannot be asked must be waited for, so long as it is set, and all at the same time."""
    project.environ["HARNESS_STEADY"] = "6s"
    project.stack("low", {"a": service("wait"), "b": service("wait")})
    project.stack("high", {"c": service("wait")}, include=["low.yaml"])
    project.stack("asked", {"web": service("say:up", "wait", ready=[{"log": "up"}])})
    run = project.run()
    with running(run):
        began = clock.now()
        run.bring("asked")
        between = clock.now()
        run.bring("high")
        assert clock.now() - between >= 6
    spans = [span for span in run_json(project)["spans"] if span["stage"] == "stack"]
    assert {span["of"] for span in spans} == {"asked", "low", "high"}
    assert all(span["seconds"] < 6 for span in spans), spans
    assert between - began < 20


def test_a_dependency_that_dies_while_others_settle_is_named(project: Project) -> None:
    """The end of a service must end the wait of those that need it at once, and be what is told, with its last line."""
    db = service("say:data directory is damaged", "exit:3:1.5")
    project.stack("s", {"db": db, "web": web(60, compose={"depends_on": ["db"]})}, **QUIET)
    error = broken(project)
    assert error.summary.startswith("Service 'db' ended with exit code 3 ")
    assert "  data directory is damaged" in error.details


def test_a_service_of_an_included_stack_that_dies_is_named(project: Project) -> None:
    """The same holds for a service of a stack that is settled already and that this one stands on."""
    db = service("say:up", "say:data directory is damaged", "exit:3:2.5", ready=[{"log": "up"}])
    project.stack("low", {"db": db})
    project.stack("side", {"slow": web(60)}, **QUIET)
    project.stack("s", {"web": web(60)}, include=["low.yaml", "side.yaml"], **QUIET)
    error = broken(project)
    assert error.summary.startswith("Service 'db' ended with exit code 3 ")
    assert "  data directory is damaged" in error.details


def test_of_two_that_die_the_first_is_named(project: Project) -> None:
    """What ends because another service has ended must not be blamed for it."""
    db = service("exit:3:1.0")
    web_ = service("after:1.6:exit:9", "serve:{address}:{port:8080}:60", "wait", ports=("8080",), ready=[{"tcp": 8080}])
    slow = web(60)
    project.stack("s", {"web": web_, "db": db, "slow": slow}, **QUIET)
    assert broken(project).service == "db"


CHECKS = """
import threading
def ready(target): threading.Event().wait(600)
def fill(stack): threading.Event().wait(600)
def break_(stack):
    stack.service("web").kill()
    stack.service("web").start()
"""


@pytest.fixture
def checks(project: Project, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with a probe and a seed that never return."""
    name = f"checks_{project.root.parent.name.replace('-', '_')}"
    (project.root / f"{name}.py").write_text(CHECKS)
    monkeypatch.syspath_prepend(str(project.root))
    return name


def test_a_probe_that_blocks_does_not_outlast_the_deadline(project: Project, checks: str) -> None:
    """A python probe that does not return must be left at the deadline and named, with how long it was waited for."""
    short = {"x-harness": {"timeouts": {"ready": "1500ms"}}}
    project.stack("s", {"web": web(ready=[{"python": f"{checks}:ready"}])}, **short)
    error = broken(project)
    pattern = rf"Service 'web' did not settle in 1\.\d s: python {checks}:ready has not answered for 1\.\d s"
    assert re.match(pattern, error.summary), error.summary


def test_a_seed_that_blocks_does_not_outlast_the_deadline(project: Project, checks: str) -> None:
    """A python seed that does not return must be left when the stack's time is up, and named."""
    short = {"x-harness": {"timeouts": {"up": "3s"}, "seed": [{"key": "data", "python": f"{checks}:fill"}]}}
    project.stack("s", {"web": web()}, **short)
    error = broken(project)
    pattern = rf"Seed 'data' was not planted: python {checks}:fill has not returned for \d\.\d s"
    assert re.match(pattern, error.summary), error.summary


def test_a_death_ends_the_wait_for_a_seed(project: Project, checks: str) -> None:
    """A service that ends while a seed is planted must be told at once; one that the seed ends itself is no fault."""
    seed = {"key": "data", "python": f"{checks}:fill"}
    words = ("after:2.5:exit:3",)
    project.stack("s", {"web": web(words=words)}, **{"x-harness": {"seed": [seed]}})
    assert broken(project).summary.startswith("Service 'web' ended with exit code 3 ")
    project.stack("t", {"web": web()}, **{"x-harness": {"seed": [{**seed, "python": f"{checks}:break_"}]}})
    run = project.run()
    with running(run):
        run.bring("t")


def test_a_time_is_kept_whatever_a_check_takes(project: Project) -> None:
    """A healthcheck that takes longer than what is left must not outlast the deadline; its process must be gone."""
    check = {"test": ["CMD", "python", "-c", "import signal; signal.pause()"], "timeout": "30s"}
    short = {"x-harness": {"timeouts": {"ready": "1500ms"}}}
    project.stack("s", {"web": web(ready=[{"healthy": True}], embedded={"healthcheck": check})}, **short)
    error = broken(project)
    assert re.match(r"Service 'web' did not settle in 1\.\d s: healthy has not answered for 1\.\d s", error.summary)


def test_a_healthcheck_without_its_program_is_told_at_once(project: Project) -> None:
    """A healthcheck whose program is missing must end the wait at once, with its name."""
    own = {"healthcheck": {"test": ["CMD", "no-such-check"]}}
    project.stack("s", {"web": web(ready=[{"healthy": True}], embedded=own)}, **QUIET)
    error = broken(project)
    assert "no-such-check" in error.summary
    assert "longer time" not in error.hint


# -- who listens ----------------------------------------------------------------------------------------------------


def _stranger_on(address: tuple[str, int]) -> socket.socket:
    """Return a socket of this test that listens at an address."""
    stranger = socket.socket()
    stranger.bind(address)
    stranger.listen()
    return stranger


@pytest.mark.parametrize("words", [("wait",), ("serve:{address}:{port:8080}:0", "wait")], ids=["waits", "binds"])
def test_a_stranger_at_a_service_s_address_is_not_taken_for_it(project: Project, words: tuple[str, ...]) -> None:
    """Who listens where a service should must be named with pid, and its answers must not count."""
    project.stack("s", {"web": service(*words, ports=("8080",), ready=[{"tcp": 8080}])}, **QUIET)
    run = project.run()
    leased = run.open().link.ask(Lease(["s/web"], []))["addresses"]["s/web"]
    with _stranger_on((leased, 8080)), pytest.raises(BrokenStack) as caught:
        run.bring("s")
    assert caught.value.summary.startswith(f"Service 'web': its address {leased}:8080 is held by pid {os.getpid()} (")
    assert caught.value.exit_code == 12


def test_a_stranger_at_a_fixed_address_is_a_matter_of_configuration(project: Project) -> None:
    """Where the address may not move, exit code 10 must be told, with the same name."""
    one = service("wait", ports=("8080",), ready=[{"tcp": 8080}], fixed=True)
    project.stack("s", {"web": one}, **QUIET)
    run = project.run()
    leased = run.open().link.ask(Lease(["s/web"], []))["addresses"]["s/web"]
    says = rf"(?s)is held by pid {os.getpid()} .* it is fixed"
    with _stranger_on((leased, 8080)), pytest.raises(ConfigError, match=says):
        run.bring("s")


def test_a_free_port_that_was_taken_is_replaced(project: Project) -> None:
    """A free port that somebody took before the service had bound it must be replaced by another, and that be said."""
    with socket.socket() as everywhere, contextlib.ExitStack() as strangers:
        everywhere.bind(("0.0.0.0", 0))  # noqa: S104 - this is what is tested
        everywhere.listen()
        port = everywhere.getsockname()[1]
        words = (f"serve:{{address}}:{{port:{port}}}:0", "wait")
        ready = [{"http": {"port": port, "json": {"status": "green"}}}]
        project.stack("s", {"web": service(*words, ports=(f"{port}:80",), ready=ready)})
        run = project.run()
        with running(run):
            link = run.open().link
            name = f"s/web:{port}"
            first = link.ask(Lease([], [name]))["ports"][name]
            strangers.enter_context(_stranger_on(("127.0.0.1", first)))
            stack = run.bring("s")
            end = stack.endpoint("web", port)
            assert end != f"127.0.0.1:{first}"
            assert http.ask(*_split(end)).json()["status"] == "green"
    assert any(f"127.0.0.1:{first} is held by pid {os.getpid()} (" in line for line in project.said), project.said


def test_a_daemon_of_a_service_may_listen_for_it(project: Project) -> None:
    """What a service has left its session and parent for must count as the service."""
    where = "serve:{address}:{port:8080}:0"
    project.stack("s", {"web": service(f"child:{where},wait", "wait", ports=("8080",), ready=[{"tcp": 8080}])})
    run = project.run()
    with running(run):
        run.bring("s")
