"""The attach engine: stacks that somebody else has started are used, and left as they are."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from containers import ask
from projects import ACTOR, Project, run_in, run_json, web

from harness import procs
from harness.errors import BrokenStack, ConfigError, Unsupported
from harness.runs import Run, running
from harness.runs.choice import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "127.0.0.1"


class Somebody:
    """Somebody who has started services by hand."""

    def __init__(self) -> None:
        self.processes: list[procs.Popen[bytes]] = []

    def serve(self, delay: float = 0.0) -> str:
        """Start a service; return where it is."""
        with socket.socket() as free:
            free.bind((ADDRESS, 0))
            where = f"{ADDRESS}:{free.getsockname()[1]}"
        self.processes.append(procs.spawn([sys.executable, str(ACTOR), f"serve:{where}:{delay}", "wait"]))
        return where

    def leave(self) -> list[int | None]:
        """End everything; return how each was before."""
        before = [process.poll() for process in self.processes]
        for process in self.processes:
            process.kill()
            process.wait(5)
        return before


@pytest.fixture
def somebody(project: Project) -> Iterator[Somebody]:
    """Somebody whose services live at the end of the test as they did at its begin."""
    project.environ["HARNESS_ENGINE"] = "attach"
    made = Somebody()
    yield made
    assert set(made.leave()) <= {None}


def attached(project: Project, services: dict[str, Any], **addresses: str) -> Run:
    """Return a run on a stack ``s`` whose addresses the environment tells."""
    project.stack("s", services)
    project.environ |= {f"HARNESS_ENDPOINT_{name}": address for name, address in addresses.items()}
    return project.run()


def test_a_stack_is_used_where_it_is(project: Project, somebody: Somebody) -> None:
    """Endpoints must be those of the environment, by either number of a port; nothing is started, nothing removed."""
    where, other = somebody.serve(), somebody.serve()
    run = attached(project, {"my-web": web(), "other": web()}, MY_WEB_8080=where, OTHER_80=other)
    with running(run):
        stack = run.bring("s")
        assert stack.endpoints() == {"my-web:8080": where, "other:8080": other}
        assert stack.endpoint("my-web", 80) == where
        assert ask(stack, "my-web")["status"] == "green"
        assert len(project.processes()) == 1  # the keeper of the run
    assert run_json(project)["engine"] == "attach"


def test_addresses_may_stand_in_pyproject(project: Project, somebody: Somebody) -> None:
    """Addresses of [tool.harness.attach.<stack>] must be used, and those of the environment go first."""
    right, wrong = somebody.serve(), "127.0.0.1:9"
    table = f'[tool.harness.attach.s]\n"web:8080" = "{wrong}"\n"other:8080" = "{right}"\n'
    (project.root / "pyproject.toml").write_text(table)
    run = attached(project, {"web": web(), "other": web()}, WEB_8080=right)
    with running(run):
        assert set(run.bring("s").endpoints().values()) == {right}


def test_every_missing_address_is_told(project: Project, somebody: Somebody) -> None:
    """All missing and wrong addresses must be told at once, with exit code 10, and nothing be made."""
    table = '[tool.harness.attach.s]\n"bad:8080" = "nowhere"\n'
    (project.root / "pyproject.toml").write_text(table)
    run = attached(project, {"web": web(), "a-b": web(), "bad": web(), "there": web()}, THERE_8080=somebody.serve())
    with pytest.raises(ConfigError) as caught:
        run.bring("s")
    assert "missing: a-b:8080 (HARNESS_ENDPOINT_A_B_8080), web:8080 (HARNESS_ENDPOINT_WEB_8080)" in str(caught.value)
    assert "\"bad:8080\" in [tool.harness.attach] is 'nowhere', host:port was needed" in str(caught.value)
    assert "there:8080" not in str(caught.value)
    assert not (project.root / "logs").exists()


def test_a_stack_is_ready_when_its_probes_hold(project: Project, somebody: Somebody) -> None:
    """Probes must be asked as on every engine; those that look into a service are left out, and that is said."""
    ready = [{"log": "x"}, {"exec": ["x"]}, {"http": {"port": 8080, "json": {"status": "green"}}}]
    run = attached(project, {"web": web(ready=ready)}, WEB_8080=somebody.serve(0.6))
    with running(run):
        assert ask(run.bring("s"), "web")["status"] == "green"
    assert "service 'web' is attached, so its probe 'log' is left out" in project.said
    assert "service 'web' is attached, so its probe 'exec' is left out" in project.said


@pytest.mark.usefixtures("somebody")
def test_a_stack_that_does_not_answer_is_broken(project: Project) -> None:
    """A service that does not become ready must be told with what was seen."""
    project.stack("s", {"web": web()}, **{"x-harness": {"timeouts": {"ready": "300ms"}}})
    project.environ["HARNESS_ENDPOINT_WEB_8080"] = f"{ADDRESS}:1"
    with pytest.raises(BrokenStack, match=r"Service 'web' did not settle in 0\.\d s: \S+:1/: .*refused.* \(attached\)"):
        project.run().bring("s")


def test_what_it_cannot_do_is_unsupported(project: Project, somebody: Somebody) -> None:
    """Everything that needs more than an address must be refused in words, and nothing be done."""
    run = attached(project, {"web": web()}, WEB_8080=somebody.serve())
    with running(run):
        stack = run.bring("s")
        one = stack.service("web")
        for refused in (one.kill, one.stop, one.start, one.restart, one.pause, one.unpause, one.logs):
            with pytest.raises(Unsupported, match=r"Service 'web' is attached: .* is for whoever started it"):
                refused()
        with pytest.raises(Unsupported):
            one.exec(["true"])
        with pytest.raises(Unsupported):
            one.copy_out("/x", project.root)
        with pytest.raises(Unsupported):
            _ = one.state
        stack.check()
        assert stack.dump() == {}
        assert repr(one) == "<Service s/web attached>"


def test_a_test_that_needs_more_is_skipped_with_the_reason(project: Project, somebody: Somebody) -> None:
    """A test that asks for what attach cannot do must be skipped with that reason; the others run."""
    project.stack("s", {"web": web()})
    project.environ["HARNESS_ENDPOINT_WEB_8080"] = somebody.serve()
    (project.root / "test_it.py").write_text(
        "def test_good(stack): assert stack.endpoint('web', 8080)\ndef test_kill(stack): stack.service('web').kill()\n"
    )
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "--stack=s", "--engine=attach")
    assert done.code == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "test_it.py:2: Service 'web' is attached: to kill it is for whoever started it" in done.stdout
    assert run_json(project)["outcomes"] == {"succeeded": 1, "skipped": 1}


def test_nothing_is_seeded_and_nothing_kept(project: Project, somebody: Somebody) -> None:
    """Seeds are for whoever started the stack; that is said. `up` has nothing to do and says so."""
    seed = {"key": "k", "http": {"service": "web", "port": 8080, "method": "POST", "path": "/", "json": {"x": 1}}}
    project.stack("s", {"web": web()}, **{"x-harness": {"seed": [seed]}})
    project.environ["HARNESS_ENDPOINT_WEB_8080"] = somebody.serve()
    run = project.run()
    with running(run):
        assert ask(run.bring("s"), "web")["posted"] == []
    assert "stack 's' is somebody else's: its 1 seed(s) are left out" in project.said
    done = run_in(project, "-c", "from harness.invoke_tasks import main; main()", "up", "--stack=s")
    assert done.code == 10
    assert "Engine attach starts nothing" in done.stderr


@pytest.mark.usefixtures("somebody")
def test_an_address_beyond_this_machine_is_said(project: Project) -> None:
    """An address that may be another machine's must be used as it is written, and be said in one line."""
    project.environ["HARNESS_ENDPOINT_WEB_8080"] = "web.invalid:80"
    project.stack("s", {"web": web()}, **{"x-harness": {"timeouts": {"ready": "200ms"}}})
    with pytest.raises(BrokenStack, match="Service 'web' did not settle"):
        project.run().bring("s")
    assert "service 'web' is at web.invalid:80, which may be another machine; tests will talk to it" in project.said
    project.said.clear()
    project.environ["HARNESS_INSIDE"] = "1"  # it is a name beside the container that asks
    with pytest.raises(BrokenStack, match="Service 'web' did not settle"):
        project.run().bring("s")
    assert not any("another machine" in line for line in project.said)


def test_a_subject_may_run_here_against_what_is_there(project: Project, somebody: Somebody) -> None:
    """A service given by --local must be started here, and be given the addresses of those that are there."""
    from harness.config import load_settings, read_sources  # noqa: PLC0415

    project.environ["HARNESS_ENDPOINT_DB_8080"] = where = somebody.serve()
    compose = {"environment": {"DB": "db:8080"}}
    project.stack("s", {"web": web(compose=compose), "db": web()})
    line = f"web={sys.executable} {ACTOR} serve:{{address}}:{{port:8080}}:0 wait"
    run = Run(choose(load_settings(read_sources(project.root, project.environ), local=[line])), project.said.append)
    project.runs.append(run)
    with running(run):
        assert ask(run.bring("s"), "web")["env"]["DB"] == where
