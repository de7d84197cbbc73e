"""What it means that a service ends while its stack settles, and that it is started again where its file says so."""

from __future__ import annotations

import signal
import sys
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from projects import run_in, service, web

from harness import clock, procs
from harness.errors import BrokenStack
from harness.runs import running
from harness.runs.endings import LONGEST_PAUSE, TRIES_ALONE, Policy, pause_before, policy_of

if TYPE_CHECKING:
    from projects import Project

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ({}, Policy("")),
        ({"restart": "no"}, Policy("no")),
        ({"restart": "always"}, Policy("always")),
        ({"restart": "unless-stopped"}, Policy("always")),
        ({"restart": "on-failure:3"}, Policy("on-failure", 3)),
        ({"deploy": {"restart_policy": {}}}, Policy("")),
        ({"deploy": {"restart_policy": {"delay": "5s"}}}, Policy("always")),
        ({"deploy": {"restart_policy": {"condition": "none"}}, "restart": "always"}, Policy("no")),
        ({"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 2}}}, Policy("on-failure", 2)),
    ],
)
def test_a_policy_is_read_as_compose_reads_it(written: dict[str, Any], policy: Policy) -> None:
    """``restart`` and ``deploy.restart_policy`` must mean the same, and the latter goes before."""
    assert policy_of(written) == policy


@pytest.mark.parametrize(
    ("policy", "code", "again", "allowed"),
    [
        (Policy(""), 1, 0, False),
        (Policy("no"), 1, 0, False),
        (Policy("always"), 0, 99, True),
        (Policy("on-failure"), 0, 0, False),
        (Policy("on-failure"), 1, 99, True),
        (Policy("on-failure", 2), 1, 1, True),
        (Policy("on-failure", 2), 1, 2, False),
    ],
)
def test_a_policy_allows_what_it_says(policy: Policy, code: int, again: int, allowed: bool) -> None:
    """A service must be started again after failures only, always, or so often, as is written."""
    assert policy.allows(code, again) == allowed


def test_pauses_grow_to_a_limit() -> None:
    """A service that ends again and again must not keep the machine busy, nor be forgotten."""
    pauses = [pause_before(again) for again in range(1, 2000)]
    assert pauses[0] < pauses[1] < pauses[-1] == LONGEST_PAUSE


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_a_service_is_started_again_until_what_it_needs_is_there(project: Project, policy: str) -> None:
    """``restart`` must be heeded while a stack settles, each time with a line, and its last life be the one in use."""
    twice = [f"once:{project.root / name}:exit:9" for name in ("a", "b")]
    project.stack(
        "s", {"app": service(*twice, "say:found", "wait", compose={"restart": policy}), "db": service("wait")}
    )
    with running(project.run()) as run:
        stack = run.bring("s")
        assert stack.service("app").state == "running"
        assert "found" in stack.service("app").logs()
    told = [line for line in project.said if "is started again" in line]
    assert len(told) == 2
    meant = policy_of({"restart": policy}).condition
    for number, line in enumerate(told, 1):
        assert line == f"service 'app' ended with exit code 9 and is started again (restart: {meant}, time {number})"


def test_a_probed_service_is_started_again_after_it_was_ready(project: Project) -> None:
    """What ends when it was ready already, while others settle, must be started again too."""
    project.stack(
        "s",
        {
            "ends": web(words=(f"once:{project.root / 'second'}:after:0.5:exit:9",), compose={"restart": "always"}),
            "slow": web(4.0),
        },
    )
    with running(project.run()) as run:
        stack = run.bring("s")
        assert stack.service("ends").state == "running"
    assert [line for line in project.said if "'ends' ended with exit code 9 and is started again" in line]


def test_what_fails_though_nothing_is_missing_is_broken_soon(project: Project) -> None:
    """A service that ends each time, when all others answer, must not be tried until the time is up."""
    project.stack("s", {"app": service("say:life", "exit:3", compose={"restart": "always"}), "web": web()})
    began = clock.now()
    with pytest.raises(BrokenStack, match=r"Service 'app' ended with exit code 3") as caught:
        project.run().bring("s")
    assert clock.now() - began < 30  # of the 90 that it has
    assert lives_of(project) > TRIES_ALONE
    assert any("it was started again" in line and "(restart: always)" in line for line in caught.value.details)


def test_a_number_of_tries_is_heeded(project: Project) -> None:
    """``on-failure:1`` must try once more, and no more."""
    project.stack("s", {"app": service("say:life", "exit:3", compose={"restart": "on-failure:1"})})
    with pytest.raises(BrokenStack, match=r"Service 'app' ended with exit code 3") as caught:
        project.run().bring("s")
    assert "it was started again 1 time (restart: on-failure)" in caught.value.details
    assert len([line for line in project.said if "is started again" in line]) == 1
    assert lives_of(project) == 2


def lives_of(project: Project) -> int:
    """Return how often the service ``app`` has said that it lives."""
    return (project.latest / "services" / "app.log").read_text().count("life")


def test_a_crash_loop_that_nobody_can_judge_is_given_up_in_time(project: Project) -> None:
    """A service that ends again and again, beside others that cannot be asked, must be named when its time is up."""
    services = {"app": service("exit:3", compose={"restart": "always"}), "db": service("wait")}
    project.stack("s", services, **{"x-harness": {"timeouts": {"ready": "2s"}}})
    with pytest.raises(BrokenStack, match=r"Service 'app' ended with exit code 3"):
        project.run().bring("s")


def test_services_of_an_included_stack_are_started_again_too(project: Project) -> None:
    """``restart`` in a stack that another one includes must be heeded until that stack has settled."""
    first = f"once:{project.root / 'tried'}:exit:9"
    app = service(first, "say:found", "wait", compose={"restart": "always"})
    project.stack("low", {"app": app, "db": service("wait")})
    project.stack("s", {"web": web(1.0)}, include=["low.yaml"])
    with running(project.run()) as run:
        stack = run.bring("s")
        assert stack.service("app").state == "running"
        assert "found" in stack.service("app").logs()


def test_the_end_of_a_settled_stack_ends_the_wait_of_those_above(project: Project) -> None:
    """A service of an included stack that ends after that has settled must be named, whatever its policy."""
    low = web(words=("after:3:exit:7",), compose={"restart": "always"})
    project.stack("low", {"low": low})
    project.stack("s", {"web": web(300)}, include=["low.yaml"])
    with pytest.raises(BrokenStack, match=r"Service 'low' ended with exit code 7"):
        project.run().bring("s")


def test_a_one_shot_is_tried_again(project: Project) -> None:
    """A migration that fails until its database is there must be tried again where its file says so."""
    first = f"once:{project.root / 'tried'}:exit:9"
    project.stack(
        "s",
        {
            "migrate": service(first, "exit:0", compose={"restart": "on-failure"}),
            "web": web(compose={"depends_on": {"migrate": {"condition": "service_completed_successfully"}}}),
        },
    )
    with running(project.run()) as run:
        assert run.bring("s").service("web").state == "running"


@pytest.mark.parametrize("delay", [0.2, 2.0], ids=["while it settles", "afterwards"])
@pytest.mark.parametrize("restart", [{}, {"restart": "no"}, {"restart": "on-failure"}], ids=["", "no", "on-failure"])
def test_what_serves_nobody_and_ends_well_is_done(project: Project, restart: dict[str, str], delay: float) -> None:
    """An init service without ports that ends with 0 must be done, whether that is while its stack settles or later."""
    project.stack("s", {"init": service("say:initialised", f"exit:0:{delay}", compose=restart), "web": web()})
    with running(project.run()) as run:
        stack = run.bring("s")
        for _ in clock.poll(clock.Deadline.after(30)):
            if stack.service("init").state == "exited":
                break
        assert run.environment is not None
        assert run.environment.lives.deaths() == []


def test_a_server_that_ends_with_0_is_dead(project: Project) -> None:
    """A service with a probe that ends with 0 must be a death, whatever its policy says of failures."""
    project.stack("s", {"web": web(60, words=("after:0.3:exit:0",), compose={"restart": "on-failure"})})
    with pytest.raises(BrokenStack, match=r"Service 'web' ended with exit code 0 before it was ready"):
        project.run().bring("s")


@pytest.mark.parametrize("policy", ["no", "on-failure"])
def test_a_server_that_ends_with_0_under_tests_is_dead(project: Project, policy: str) -> None:
    """What has ports and was ready is a server: its end is a death, also with exit code 0 and without a probe."""
    serving = service("serve:{address}:{port:8080}:0", "wait", ports=("8080:80",), compose={"restart": policy})
    project.stack("s", {"web": serving})
    with running(project.run()) as run:
        stack = run.bring("s")
        assert run.environment is not None
        with suppress(OSError):
            urllib.request.urlopen(f"http://{stack.endpoint('web', 8080)}/end", timeout=30).read()
        with pytest.raises(BrokenStack, match=r"Service 'web' ended with exit code 0"):
            all(True for _ in clock.poll(clock.Deadline.after(30)))  # a wait of a test ends with a death


def test_under_tests_a_death_is_a_death(project: Project) -> None:
    """Once a stack has settled, a service that ends must be told and not be started again, whatever its file says."""
    project.stack("s", {"web": web(compose={"restart": "always"})})
    suite = project.root / "suite"
    suite.mkdir()
    (suite / "conftest.py").write_text('import harness\nup = harness.stack_fixture("s", scope="session")\n')
    (suite / "test_it.py").write_text(
        "import urllib.request\n"
        "def test_kill(up):\n"
        "    try: urllib.request.urlopen(up.url('web', 8080, '/die'), timeout=30).read()\n"
        "    except OSError: pass\n"
        "def test_next(up): pass\n"
    )
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suite")
    assert done.code == 12, done.stdout
    assert "Service 'web' ended with exit code 3 under test_kill" in done.stdout
    assert "is started again" not in done.stdout + done.stderr


def test_a_wait_to_start_again_ends_with_the_run(project: Project) -> None:
    """A signal in the pause before a service is started again must end the run, with nothing left."""
    project.stack("s", {"app": service("exit:3", compose={"restart": "always"}), "db": service("wait")})
    output = project.root / "output"
    argv = [sys.executable, *HARNESS, "up", "--stack", "s"]
    with output.open("wb") as file:
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=file)
    for _ in clock.poll(clock.Deadline.after(60)):
        if "is started again" in output.read_text():
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) in (143, -signal.SIGTERM)
    assert project.wait_until_gone(30) == {}
