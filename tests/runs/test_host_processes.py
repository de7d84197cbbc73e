"""Services that are processes of this machine on every engine, on a port of localhost that is known."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from containers import ask
from projects import ACTOR, Project, run_in, web

from harness.errors import BrokenStack, ConfigError
from harness.runs import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from containers import Dock
    from fresh import Starter

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


@pytest.fixture
def port() -> int:
    """A port that nobody has on 127.0.0.1 at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def other(tmp_path: Path, starter: Starter, project: Project) -> Iterator[Project]:
    """Another checkout of the same user, with the same state folder."""
    root = tmp_path / "other"
    root.mkdir()
    made = Project(root, project.state)
    made.starter = starter
    yield made
    for run in made.runs:
        run.close()


def host(port: int, *words: str, **table: Any) -> dict[str, Any]:
    """Return a service that answers HTTP as a process of this machine, on a port that is known."""
    harness = table.pop("harness", {})
    command = ["python", str(ACTOR), *words, f"serve:{{address}}:{{port:{port}}}:0", "wait"]
    settings = {"host": {"command": command, **table.pop("host", {})}, "fixed": True, **harness}
    ready = [{"http": {"port": port, "json": {"status": "green"}}}]
    return {
        "image": "none",
        "ports": [f"127.0.0.1:{port}:{port}"],
        "x-harness": {"ready": ready, **settings},
        **table,
    }


def test_it_is_on_its_port_of_localhost(project: Project, port: int) -> None:
    """Others must have addresses of their own, and it 127.0.0.1 and the port that everybody knows; restarted too."""
    project.stack("s", {"web": web(), "site": host(port)})
    stack = project.run().bring("s")
    assert stack.endpoint("site", port) == f"127.0.0.1:{port}"
    assert not stack.endpoint("web", 8080).startswith("127.0.0.1:")
    site = stack.service("site")
    assert site.env["HARNESS_HOST_WEB"] == stack.endpoint("web", 8080).partition(":")[0]
    first = site.pid
    site.restart()
    assert site.pid != first
    assert site.log.is_file()
    assert site.log.parent == stack.run_dir / "services"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - a stranger's
def test_a_stranger_is_told_before_anything_is_made(project: Project, port: int, address: str) -> None:
    """Who listens on its port must be named with pid and command by exit code 10; there is no environment then."""
    project.stack("s", {"site": host(port)})
    with socket.create_server((address, port)) as server:
        done = run_in(project, *HARNESS, "run", "--", "true")
        assert done.code == 10, done.stderr
        assert f"Stack 's': port {port}/tcp of 'site' is held by pid {os.getpid()} (" in done.stderr
        assert server.fileno() >= 0
    assert not (project.root / "logs").exists()
    assert run_in(project, *HARNESS, "run", "--", "true").code == 0


def test_another_checkout_is_told_who_has_the_port(project: Project, other: Project, port: int) -> None:
    """The second of two checkouts must be told of the first, which is not touched."""
    for one in (project, other):
        one.stack("s", {"site": host(port)})
    stack = project.run().bring("s")
    pid = stack.service("site").pid
    with pytest.raises(ConfigError) as caught:
        other.run().bring("s")
    assert f"port {port} of 'site' is held by the environment of {project.root}" in caught.value.summary
    assert stack.service("site").pid == pid


def test_it_is_used_again_where_it_is_kept(project: Project, port: int) -> None:
    """What ``up`` left must serve later runs: its own process is no stranger."""
    project.stack("s", {"site": host(port)})
    assert run_in(project, *HARNESS, "up").code == 0
    try:
        for _ in range(2):
            done = run_in(project, *HARNESS, "run", "--", "true")
            assert done.code == 0, done.stderr
    finally:
        assert run_in(project, *HARNESS, "down").code == 0


def test_two_on_one_port_are_refused_when_planned(project: Project, port: int) -> None:
    """Two host processes of a file with one port must be told before there is an environment."""
    project.stack("s", {"site": host(port), "also": host(port)})
    with pytest.raises(ConfigError, match=f"Port {port}/tcp is published by the services 'also' and 'site'; both are"):
        project.run().bring("s")
    assert not project.ledgers()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"embedded": {"command": ["x"]}}, "host and embedded are both given"),
        ({"host": {"preset": "redis"}}, "host.preset is not possible"),
    ],
)
def test_it_runs_in_one_way(project: Project, port: int, more: dict[str, Any], told: str) -> None:
    """A second way to run on an engine, and a preset, must be refused."""
    project.stack("s", {"site": host(port, harness=more)})
    with pytest.raises(ConfigError, match=told):
        project.run().bring("s")


def migrated(port: int, line: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a service that needs a file of its data folder, and the seed that makes it before it starts."""
    checks = ["python", "-c", "import sys; open(sys.argv[1] + '/db').read()", "{data}"]
    serve = f"import os, sys; open(sys.argv[1] + '/db'); os.execv(sys.executable, ['python', '{ACTOR}', *sys.argv[2:]])"
    command = [*checks[:2], serve, "{data}", f"serve:{{address}}:{{port:{port}}}:0", "wait"]
    seed = {"service": "site", "command": ["python", "-c", line, "{data}"]}
    return host(port, host={"command": command}), [{"key": "migrate", "before": "site", "exec": seed}]


def test_a_command_runs_as_it_before_its_start(project: Project, port: int) -> None:
    """A seed that runs in it before its start must find its folder and variables, and what it made be there."""
    line = "import os, sys; assert os.environ['HARNESS_HOST_SITE']; open(sys.argv[1] + '/db', 'w').close()"
    service, seed = migrated(port, line)
    project.stack("s", {"site": service}, **{"x-harness": {"seed": seed}})
    assert project.run().bring("s").service("site").state == "running"


def test_a_migration_that_fails_ends_the_start(project: Project, port: int) -> None:
    """The stack must not settle, with one error that has the last lines; the service was never started."""
    service, seed = migrated(port, "print('table a'); raise SystemExit('no such table: b')")
    project.stack("s", {"site": service}, **{"x-harness": {"seed": seed}})
    run = project.run()
    with pytest.raises(BrokenStack) as caught:
        run.bring("s")
    assert caught.value.summary == "Seed 'migrate' in 'site': exit code 1: no such table: b"
    assert not list((project.latest / "services").glob("site.log"))


def test_on_containers_it_is_a_process_too(dock: Dock, port: int) -> None:
    """Beside containers it must be a process on the same address, and reach them where they are published."""
    line = "import sys; open(sys.argv[1] + '/db', 'w').close()"
    service, seed = migrated(port, line)
    dock.stack("s", {"web": dock.web(), "site": service}, **{"x-harness": {"seed": seed}})
    with running(dock.run()) as run:
        stack = run.bring("s")
        assert stack.endpoint("site", port) == f"127.0.0.1:{port}"
        assert set(dock.containers()) == {"web"}
        site = stack.service("site")
        assert stack.endpoint("web", 8080) == f"{site.env['HARNESS_HOST_WEB']}:{site.env['HARNESS_PORT_WEB_8080']}"
        assert ask(stack, "site", port)["status"] == "green"
        site.kill()
        assert site.state == "exited"
        site.start()
        assert site.state == "running"


def test_a_container_that_needs_it_is_refused(dock: Dock, port: int) -> None:
    """A container that is told of its address must be refused: 127.0.0.1 is another machine to it."""
    dock.stack("s", {"web": dock.web(environment={"SITE": f"http://site:{port}/"}), "site": host(port)})
    with pytest.raises(ConfigError, match=f"'web' .* is told of site:{port}, a host process on 127.0.0.1"):
        dock.run().bring("s")
    assert not dock.ledgers()


def test_one_that_is_not_fixed_is_beside_the_containers(dock: Dock, port: int) -> None:
    """Without ``fixed`` it must be at their network's gateway, where they know it by its name."""
    site = host(port, harness={"fixed": False})
    dock.stack("s", {"web": dock.web(environment={"SITE": f"http://site:{port}/"}), "site": site})
    with running(dock.run()) as run:
        stack = run.bring("s")
        place = stack.endpoint("site", port)
        assert not place.startswith("127.")
        done = stack.service("web").exec(["cat", "/etc/hosts"])
        assert f"{place.partition(':')[0]}\tsite" in done.stdout
