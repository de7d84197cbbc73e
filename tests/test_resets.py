"""What is done after each test for the next one: reset hooks, and what bears the test's name removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, web
from stores_stack import write_stores

import harness
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from harness import procs

CONFTEST = """
import os, pathlib, pytest, harness
web = harness.stack_fixture("s", scope="session")
other = harness.stack_fixture("t", scope="module")
HERE = pathlib.Path(__file__).parent / "called"
NOW = []

@pytest.fixture(autouse=True)
def now(request):
    NOW[:] = [request.node.name]

@harness.reset_hook("web")
def forget(service):
    with open(HERE, "a") as called:
        called.write(f"{service.name} {service.state} {NOW[0]}\\n")
    {more}
"""


def suite(project: Project, tests: str, more: str = "") -> None:
    """Write a suite whose conftest has a hook for the service ``web`` of the stack ``s``."""
    project.stack("s", {"web": web()})
    project.stack("t", {"else": web()})
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST.replace("{more}", more))
    (folder / "test_it.py").write_text("import pytest\n" + tests)


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run pytest on the suite."""
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "suite", *argv)


def called(project: Project) -> list[str]:
    """Return what the hook was called with, in order."""
    return (project.root / "suite" / "called").read_text().splitlines()


TESTS = """
@pytest.fixture
def last(web):
    yield
    with open(__file__ + ".down", "w"):
        pass

def test_uses(web, last): pass
def test_uses_another(other): pass
def test_plain(): pass
def test_fails(web): assert False
def test_skips(web): pytest.skip("so it is")
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_hook_is_called_after_each_test_that_used_its_service(project: Project, workers: tuple[str, ...]) -> None:
    """However a test ended, each that used the stack must be followed by the hook, with the service, and no other."""
    suite(project, TESTS)
    done = pytest_in(project, *workers)
    assert done.code == 1, done.stdout
    assert sorted(called(project)) == [
        "web running test_fails",
        "web running test_skips",
        "web running test_uses",
    ]


def test_a_hook_is_called_when_the_fixtures_of_its_test_are_torn_down(project: Project) -> None:
    """What fixtures of the test still do to the server must be before the hook."""
    suite(project, TESTS, more="assert pathlib.Path(HERE.parent, 'test_it.py.down').exists()")
    done = pytest_in(project, "-k", "test_uses and not another")
    assert done.code == 0, done.stdout


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_hook_that_fails_is_an_error_of_the_test_and_is_named(project: Project, workers: tuple[str, ...]) -> None:
    """The teardown of the test must be in error with the hook's name, place, service and reason; other tests go on."""
    suite(project, TESTS, more="if NOW == ['test_uses']: raise OSError('no answer')")
    done = pytest_in(project, *workers)
    assert "1 failed, 3 passed, 1 skipped, 1 error" in done.stdout, done.stdout
    assert "ERROR at teardown of test_uses" in done.stdout
    assert "Reset hook 'forget' of service 'web' (" in done.stdout
    assert "conftest.py:12) failed after test_uses: OSError: no answer" in done.stdout


def test_a_hook_of_a_misspelt_service_is_told(project: Project) -> None:
    """A hook that is never called since its service has another name must be told, with the name that was meant."""
    suite(project, TESTS)
    conftest = project.root / "suite" / "conftest.py"
    conftest.write_text(conftest.read_text().replace('reset_hook("web")', 'reset_hook("webb")'))
    done = pytest_in(project, "-k", "test_uses")
    assert "was never called: no stack of its tests has that service; did you mean 'web'?" in done.stdout


def test_a_hook_that_returns_a_coroutine_is_an_error_of_the_test(project: Project) -> None:
    """What a hook leaves to be awaited is never done, and that must not pass for a reset."""
    suite(project, TESTS, more="async def later(): pass\n    return later()")
    done = pytest_in(project, "-k", "test_uses and not another")
    assert "1 passed, 4 deselected, 1 error" in done.stdout, done.stdout
    assert "failed after test_uses: TypeError: it returned" in done.stdout, done.stdout
    assert "which nobody awaits" in done.stdout, done.stdout  # in the next line
    assert "never awaited" not in done.stdout + done.stderr


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_hook_in_a_module_of_tests_is_told(project: Project, workers: tuple[str, ...]) -> None:
    """A hook that is never called since it stands in no conftest file must be told, once, and one of those must not."""
    hook = "import harness\nfrom conftest import forget\n@harness.reset_hook('web')\ndef lost(service): pass\n"
    suite(project, hook + TESTS)
    done = pytest_in(project, "-k", "test_uses and not another", *workers)
    assert done.stdout.count("is never called") == 1, done.stdout
    where = f"Reset hook 'lost' of service 'web' ({project.root}/suite/test_it.py:4)"
    assert f"{where} is never called: it was looked for in conftest files only" in done.stdout


def test_a_hook_is_a_plain_function_for_a_named_service() -> None:
    """What could never be called as a hook must be refused where it is written."""
    with pytest.raises(ConfigError, match="the name of a service was needed"):
        harness.reset_hook(print)  # type: ignore[arg-type]

    async def late(_: object) -> None:
        """Never run."""

    def like_a_fixture(_: object) -> Iterator[None]:
        yield

    async def both(_: object) -> AsyncIterator[None]:
        yield

    for function in (late, like_a_fixture, both):
        with pytest.raises(ConfigError, match="a plain function was needed"):
            harness.reset_hook("web")(function)


NAMED = """
import pytest
from harness.helpers import redis, postgres
from harness.helpers.kafka import Kafka

def test_makes(s, ns):
    with redis.connect(s, "cache") as client:
        client.set(ns + ":x", "1")
        client.set("other", ns)
    with postgres.connect(s, "db") as db:
        db.execute(f"CREATE TABLE {ns} (i int)")
        db.execute(f"CREATE DATABASE {ns}")
    with Kafka(s.endpoint("kafka", 9092)) as kafka:
        kafka.create_topics({ns: 1, "other": 1})
    {more}

def test_sees(s):
    with redis.connect(s, "cache") as client:
        assert client.keys() == ["other"]
    with postgres.connect(s, "db") as db:
        assert db.execute("SELECT relname FROM pg_class WHERE starts_with(relname, 'w0_')").fetchall() == []
        assert db.execute("SELECT datname FROM pg_database WHERE starts_with(datname, 'w0_')").fetchall() == []
    with Kafka(s.endpoint("kafka", 9092)) as kafka:
        assert [name for name in kafka.topics() if not name.startswith("__")] == ["other"]
"""


@pytest.mark.parametrize("more", ["pass", "assert False"], ids=["passes", "fails"])
def test_what_bears_a_tests_name_is_gone_for_the_next_test(project: Project, more: str) -> None:
    """However a test ended, what begins with its ``ns`` must be gone from its stacks' stores, and nothing else."""
    write_stores(project, "cache", "db", "kafka")
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text("import harness\ns = harness.stack_fixture('s', scope='session')\n")
    (folder / "test_it.py").write_text(NAMED.replace("{more}", more))
    done = pytest_in(project)
    assert ("2 passed" if more == "pass" else "1 failed, 1 passed") in done.stdout, done.stdout
