"""Suites that were written for pytest-docker, where it is not installed: each of its names, and what comes of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import pytest
from projects import Project, run_in, run_json, web

from harness import pytest_docker_names as names
from harness.errors import ConfigError, WaitTimeout

if TYPE_CHECKING:
    from harness import procs
    from harness.runs import Stack

USE = "def test_it(docker_ip, docker_services): assert docker_services.port_for('web', 80) > 0\n"
DOWN = "from harness.invoke_tasks import main\nmain()"


class _Stack:
    """A stack of one service, whose port 80 is where a container's would be."""

    name = "s"

    def endpoint(self, service: str, port: int) -> str:
        if port != 80:
            raise ConfigError(f"Service {service!r} publishes no port {port}")
        return "127.0.0.1:8080"


def services() -> names.Services:
    return names.Services(cast("Stack", _Stack()))


def asked(**values: Any) -> names.Asked:
    """Return what a suite says that overrides ``values`` only."""
    usual: dict[str, Any] = {
        "command": "docker compose",
        "project": f"pytest{os.getpid()}",
        "setup": ("up --build --wait",),
        "cleanup": ("down -v",),
    }
    return names.Asked(**usual | values)


def suite(project: Project, tests: str, conftest: str = "") -> None:
    """Write a suite with the stack of the usual file, ``tests/docker-compose.yml``."""
    file = project.stack("s", {"web": web()})
    folder = project.root / "tests"
    folder.mkdir()
    file.rename(folder / "docker-compose.yml")
    (folder / "conftest.py").write_text("import pytest\n" + conftest)
    (folder / "test_it.py").write_text(tests)


def override(name: str, value: object, scope: str = "session") -> str:
    """Return the text of a fixture."""
    return f"@pytest.fixture(scope={scope!r})\ndef {name}():\n    return {value!r}\n"


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    words = ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:docker", "tests", *argv)
    return run_in(project, *words)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"command": "docker-compose"},
        {"setup": ("up -d",)},
        {"setup": ("down -v --remove-orphans", "up --build --wait --wait-timeout 60 --force-recreate")},
        {"cleanup": ("down --volumes --rmi local --timeout=5",)},
        {"setup": ("up -d", "exec -T web migrate --all"), "cleanup": ("exec web dump", "down -v")},
        {"cleanup": ()},
    ],
)
def test_what_is_so_anyhow_is_not_told(values: dict[str, Any]) -> None:
    """Words for pytest-docker that have their effect here must make no noise."""
    assert asked(**values).without_effect() == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"command": "podman compose"}, "docker_compose_command 'podman compose' has no effect"),
        ({"project": "fixed"}, "docker_compose_project_name 'fixed' has no effect"),
        ({"setup": ()}, "an empty docker_setup has no effect"),
        ({"setup": ("up -d web",)}, "docker_setup 'up -d web' has no effect"),
        ({"setup": ("run --rm web migrate",)}, "docker_setup 'run --rm web migrate' has no effect"),
        ({"setup": ("exec --user root web id",)}, "docker_setup 'exec --user root web id' has no effect"),
        ({"cleanup": ("stop",)}, "docker_cleanup 'stop' has no effect"),
    ],
)
def test_what_has_no_effect_is_told(values: dict[str, Any], said: str) -> None:
    """Words for pytest-docker that change nothing here must be told, with the name of their fixture."""
    (line,) = asked(**values).without_effect()
    assert line.startswith(said)


def test_commands_in_services_are_taken_out_of_setup_and_cleanup() -> None:
    """``exec`` must become the service and the words of its command, in order."""
    lines = asked(setup=("up -d", "exec -T web sh -c 'a b'", "exec db -T"), cleanup=("exec web dump", "down -v"))
    assert lines.commands("setup") == [("web", ["sh", "-c", "a b"]), ("db", ["-T"])]
    assert lines.commands("cleanup") == [("web", ["dump"])]
    with pytest.raises(ConfigError, match="cannot be split"):
        asked(setup=("exec web 'a",)).commands("setup")


def test_a_wait_goes_by_the_clock_that_it_is_given() -> None:
    """A wait must end when the suite's own clock says so, with the words that pytest-docker has for it."""
    ticks = iter([0.0, 1.0, 2.0, 3.0])
    turns: list[int] = []

    def check() -> bool:
        turns.append(1)
        return False

    with pytest.raises(WaitTimeout, match="Timeout reached while waiting on service!"):
        services().wait_until_responsive(check, timeout=3, pause=1, clock=lambda: next(ticks))
    assert len(turns) == 3
    services().wait_until_responsive(lambda: True, 0.0, 0.1)
    with pytest.raises(WaitTimeout, match="not true in 0 s"):
        services().wait_until_responsive(lambda: False, timeout=0.0, pause=0.1)


def test_a_port_that_is_not_there_is_a_value_error() -> None:
    """A suite that heeds pytest-docker's ValueError must get one, and ours says what there is."""
    assert services().port_for("web", 80) == 8080
    with pytest.raises(ValueError, match="publishes no port 81"):
        services().port_for("web", 81)


def test_the_fixtures_say_what_those_of_pytest_docker_say(project: Project) -> None:
    """Without overrides each fixture must have the value that pytest-docker gives it, and no warning comes."""
    suite(
        project,
        "import os\n"
        "def test_it(docker_ip, docker_compose_file, docker_compose_project_name, docker_compose_command,\n"
        "            docker_setup, docker_cleanup, pytestconfig, docker_services):\n"
        "    assert docker_ip == '127.0.0.1'\n"
        "    assert docker_compose_file == os.path.join(str(pytestconfig.rootdir), 'tests', 'docker-compose.yml')\n"
        "    assert docker_compose_project_name == f'pytest{os.getpid()}'\n"
        "    plugins = pytestconfig.pluginmanager\n"
        "    assert plugins.hasplugin('docker') is not plugins.is_blocked('docker')\n"
        "    assert docker_compose_command == 'docker compose'\n"
        "    assert (docker_setup, docker_cleanup) == (['up --build --wait'], ['down -v'])\n",
    )
    done = pytest_in(project, "-W", "error::harness.pytest_docker_names.NoEffect")
    assert done.code == 0, done.stdout
    assert [span["of"] for span in run_json(project)["spans"] if span["stage"] == "stack"] == ["s"]
    assert pytest_in(project, "--container-scope", "word").code == 4


@pytest.mark.parametrize(
    ("scope", "starts"), [((), 1), (("--container-scope=session",), 1), (("--container-scope=function",), 2)]
)
def test_the_scope_of_containers_is_heeded(project: Project, scope: tuple[str, ...], starts: int) -> None:
    """``--container-scope`` must say how long the stack of two tests lives."""
    suite(
        project,
        "pids = set()\ndef test_a(docker_services, stack_of): pids.add(stack_of)\n"
        f"def test_b(docker_services, stack_of):\n    pids.add(stack_of)\n    assert len(pids) == {starts}\n",
        "from harness.pytest_docker_names import container_scope\n@pytest.fixture(scope=container_scope)\n"
        "def stack_of(docker_services): return docker_services._stack.service('web').pid\n",
    )
    done = pytest_in(project, "-p", "no:randomly", *scope)
    assert done.code == 0, done.stdout
    assert project.processes() == {}


def test_commands_of_setup_and_cleanup_are_run_in_the_services(project: Project) -> None:
    """``exec`` of docker_setup must be done when the first test begins, that of docker_cleanup after the last."""
    mark = project.root / "mark"
    suite(
        project,
        f"from pathlib import Path\ndef test_it(docker_services): assert Path({str(mark)!r}).read_text() == 'up\\n'\n",
        override("docker_setup", ["up -d", f"exec -T web sh -c 'echo up > {mark}'"])
        + override("docker_cleanup", [f"exec -T web sh -c 'echo down >> {mark}'", "down -v"]),
    )
    done = pytest_in(project, "-W", "error::harness.pytest_docker_names.NoEffect")
    assert done.code == 0, done.stdout
    assert mark.read_text() == "up\ndown\n"


def test_a_command_of_setup_that_fails_is_an_error(project: Project) -> None:
    """A test must not run on a stack whose setup failed; the error must name command, service and its words."""
    suite(project, USE, override("docker_setup", "exec web sh -c 'echo because; exit 3'"))
    done = pytest_in(project)
    assert "Command \"sh -c 'echo because; exit 3'\" in service 'web' ended with 3" in done.stdout.replace("\\", "")
    assert "because" in done.stdout
    assert "1 error" in done.stdout


def test_a_stack_without_cleanup_stays(project: Project) -> None:
    """An empty docker_cleanup must leave the stack up, which is said; ``down`` removes it."""
    suite(project, USE, override("docker_cleanup", False))  # noqa: FBT003 - what a suite may say
    done = pytest_in(project)
    assert done.code == 0, done.stdout
    assert "stack 's' is kept; `harness down` removes it" in done.stdout
    assert project.processes()
    again = pytest_in(project)
    assert again.code == 0, again.stdout
    assert run_in(project, "-c", DOWN, "down").code == 0
    assert project.processes() == {}
