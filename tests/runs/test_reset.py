"""Stores are brought back to what they were when their stack had been seeded, whatever was done to them since."""

from __future__ import annotations

import textwrap
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from checkout import ROOT
from projects import run_in, service

from harness.clock import Deadline, poll
from harness.errors import BrokenStack, ConfigError, Unsupported
from harness.helpers import postgres, redis
from harness.helpers.kafka import Kafka
from harness.runs import running
from harness.verbs.up_down import down, up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from containers import Dock
    from projects import Project

    from harness import Stack

ENVIRONMENT = {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": "shop"}
SEED = ["CREATE TABLE item (id serial PRIMARY KEY, name text)", "INSERT INTO item (name) VALUES ('lamp'), ('rope')"]


def database(*, reset: bool | None = True, **table: Any) -> dict[str, Any]:
    """Return a service with PostgreSQL."""
    harness: dict[str, Any] = {"embedded": {"preset": "postgres"}, "ready": [{"sql": "select 1"}]}
    harness |= {} if reset is None else {"reset": reset}
    return {"image": "postgres", "ports": ["5432"], "environment": ENVIRONMENT, "x-harness": harness, **table}


def cache(**table: Any) -> dict[str, Any]:
    """Return a service with Redis."""
    harness = {"embedded": {"preset": "redis"}}
    return {"image": "redis", "ports": ["6379"], "x-harness": harness, **table}


def write(
    project: Project, *, reset: bool | None = True, seeds: tuple[dict[str, Any], ...] = (), **services: Any
) -> None:
    """Write the stack ``s`` with a database, a store, and seeds of both."""
    (project.root / "compose" / "keys.redis").write_text("SET greeting hello\n")
    listed = [
        {"key": "items", "sql": {"service": "db", "statements": SEED}},
        {"key": "keys", "redis": {"file": "keys.redis"}},
        *seeds,
    ]
    stores = {"db": database(reset=reset), "cache": cache(), **services}
    project.stack("s", stores, **{"x-harness": {"seed": listed}})


@pytest.fixture
def shop(project: Project) -> Iterator[Stack]:
    """A stack with a database and a store that were seeded."""
    write(project)
    run = project.run()
    with running(run):
        yield run.bring("s")


def names_in(stack: Stack) -> list[str]:
    """Return what the table has."""
    with postgres.connect(stack, "db") as connection:
        return [name for (name,) in connection.execute("SELECT name FROM item ORDER BY id")]


def test_a_database_is_as_it_was_seeded_again_and_again(shop: Stack) -> None:
    """Rows, tables and numbers that tests left must be gone, each time."""
    for name in ("first", "second", "third"):
        with postgres.connect(shop, "db") as connection:
            connection.execute("INSERT INTO item (name) VALUES (%s)", (name,))
            connection.execute("CREATE TABLE left_over (i int)")
            connection.execute("DELETE FROM item WHERE id < 3")
        shop.service("db").reset()
        assert names_in(shop) == ["lamp", "rope"]
        with postgres.connect(shop, "db") as connection:
            assert connection.execute("INSERT INTO item (name) VALUES ('next') RETURNING id").fetchone() == (3,)
            assert connection.execute("SELECT to_regclass('left_over')").fetchone() == (None,)


def test_sessions_that_are_open_are_terminated_and_that_is_said(project: Project, shop: Stack) -> None:
    """An idle session, one in the middle of a transaction and one that waits for a lock must not be in the way."""
    with (
        closing(postgres.connect(shop, "db")) as idle,
        closing(postgres.connect(shop, "db", autocommit=False)) as hanging,
    ):
        hanging.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        hanging.execute("UPDATE item SET name = 'changed'")
        shop.service("db").reset()
        assert "service 'db' was reset: 2 sessions of its clients were terminated for it" in project.said
        for connection in (idle, hanging):
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
    assert names_in(shop) == ["lamp", "rope"]


def test_what_is_of_the_database_itself_stays(shop: Stack) -> None:
    """Settings and permissions that it has, and its owner, must be there after a reset; a dropped one comes back."""
    with postgres.connect(shop, "db", database="postgres") as connection:
        connection.execute("CREATE ROLE guest")
        connection.execute("ALTER DATABASE shop SET search_path TO public, other")
        connection.execute("GRANT CREATE ON DATABASE shop TO guest")
    shop.service("db").reset()
    with postgres.connect(shop, "db") as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("public, other",)
        assert connection.execute("SELECT has_database_privilege('guest', 'shop', 'CREATE')").fetchone() == (True,)
    with postgres.connect(shop, "db", database="postgres") as connection:
        connection.execute("DROP DATABASE shop")
    shop.service("db").reset()
    assert names_in(shop) == ["lamp", "rope"]


def test_other_databases_of_seeds_are_reset_too(project: Project) -> None:
    """A database that a seed fills must be brought back with the service's own."""
    make = {"key": "make", "sql": {"service": "db", "statements": ["CREATE DATABASE other"]}}
    fill = {"key": "fill", "sql": {"service": "db", "database": "other", "statements": ["CREATE TABLE t (i int)"]}}
    write(project, seeds=(make, fill))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with postgres.connect(stack, "db", database="other") as connection:
            connection.execute("DROP TABLE t")
        stack.service("db").reset()
        with postgres.connect(stack, "db", database="other") as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_store_is_emptied_and_seeded_again(shop: Stack) -> None:
    """Keys of tests must be gone from every database of Redis, and the seeded ones be as they were."""
    with redis.connect(shop, "cache") as client, redis.connect(shop, "cache", database=3) as other:
        client.set("greeting", "changed")
        client.set("left", "over")
        other.set("left", "over")
        shop.service("cache").reset()
        assert client.get("greeting") == "hello"
        assert client.keys("*") == ["greeting"]
        assert other.keys("*") == []


def test_topics_are_made_again_with_their_messages(project: Project) -> None:
    """Topics that seeds make must have what the seeds sent and nothing else; others stay as they are."""
    seeds = [{"key": "topics", "topics": {"seeded": 2}},
             {"key": "first", "message": {"topic": "seeded", "value": "first"}}]  # fmt: skip
    above = {"web": service("wait")}
    project.stack("s", above, include=[str(ROOT / "compose" / "kafka.yaml")], **{"x-harness": {"seed": seeds}})
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with Kafka(stack.endpoint("kafka", 9092)) as kafka:
            kafka.create_topics({"other": 1})
            kafka.send("other", "kept")
            kafka.send("seeded", "left over")
            stack.service("kafka").reset()
            assert kafka.topics()["seeded"] == 2
            with kafka.consumer("seeded", start="start") as consumer:
                assert consumer.wait_for(lambda _: True, 10).value == b"first"
                assert consumer.poll(0.5) is None
            with kafka.consumer("other", start="start") as consumer:
                assert consumer.wait_for(lambda _: True, 10).value == b"kept"


CONNECTS = """
import psycopg

def connect(stack):
    store = stack.service("db").store
    kept.append(psycopg.connect(host=store.host, port=store.port, user="app", password="secret", dbname="shop"))

kept = []
"""


def test_by_default_a_database_is_copied_where_that_disturbs_nobody(project: Project) -> None:
    """Without the key it must be brought back as with it, when nobody was connected as it had been seeded."""
    write(project, reset=None)
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with postgres.connect(stack, "db") as connection:
            connection.execute("DELETE FROM item")
        stack.service("db").reset()
        assert names_in(stack) == ["lamp", "rope"]


def test_by_default_no_session_is_terminated_for_a_copy(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who is connected must stay so, and a reset must say why it cannot be."""
    (project.root / "connects.py").write_text(CONNECTS)
    monkeypatch.syspath_prepend(project.root)
    write(project, reset=None, seeds=({"key": "session", "python": "connects:connect"},))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with pytest.raises(ConfigError, match="nothing was copied when it was seeded: somebody was connected") as error:
            stack.service("db").reset()
        assert "reset: true" in error.value.hint
        with postgres.connect(stack, "db") as connection:
            rows = connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = 'shop' AND application_name = ''")
            assert len(rows.fetchall()) == 1


def test_what_cannot_be_reset_says_why(project: Project) -> None:
    """The error must name the service, and what would do: another scope, or the key."""
    write(project, reset=False, actor=service("wait"))
    run = project.run()
    with running(run):
        stack = run.bring("s")
        with pytest.raises(Unsupported, match="Service 'actor' cannot be reset: it is no PostgreSQL, Redis,"):
            stack.service("actor").reset()
        with pytest.raises(
            ConfigError, match="nothing was copied when it was seeded, as `reset: false` says"
        ) as caught:
            stack.service("db").reset()
        assert "reset: true" in caught.value.hint


def test_a_service_that_is_no_store_cannot_ask_for_it(project: Project) -> None:
    """``reset: true`` of what can never be reset must be told with its place."""
    write(project, actor=service("wait", reset=True))
    run = project.run()
    with (
        pytest.raises(ConfigError, match=r"service 'actor' cannot be reset: it is no database or store, .*\n.*:\d+"),
        running(run),
    ):
        run.bring("s")


def test_a_service_that_is_down_is_told(shop: Stack) -> None:
    """A reset of a service that does not run must say so, and not wait for long."""
    shop.service("cache").stop()
    with pytest.raises(BrokenStack, match=r"Service 'cache' could not be reset: .*refused"):
        shop.service("cache").reset()


def test_a_kept_stack_is_reset_by_a_later_run(project: Project) -> None:
    """The copies are the server's, so that any run which uses the stack can bring it back."""
    write(project)
    settings = project.settings(stack="s")
    up(settings, project.said.append)
    try:
        for _ in range(2):
            run = project.run()
            with running(run):
                stack = run.bring("s")
                with postgres.connect(stack, "db") as connection:
                    connection.execute("DELETE FROM item")
                stack.service("db").reset()
                assert names_in(stack) == ["lamp", "rope"]
    finally:
        down(settings, project.said.append)


def test_a_reset_takes_the_copy_that_is_there(shop: Stack) -> None:
    """A spare copy must be renamed into place, not copied while somebody waits: it keeps the number that it had."""
    number = "SELECT oid FROM pg_database WHERE starts_with(datname, %s)"
    with closing(postgres.connect(shop, "db", database="postgres")) as admin:
        for _ in range(3):
            for _ in poll(Deadline.after(30)):  # a test's own time, in which the server makes the next one
                if spare := admin.execute(number, ("harness_spare_",)).fetchone():
                    break
            shop.service("db").reset()
            assert admin.execute(number, ("shop",)).fetchone() == spare


TESTS = """
import pytest
import harness
from harness.helpers import postgres, redis

shop = harness.stack_fixture("s", scope="SCOPE")

def count(shop):
    with postgres.connect(shop, "db") as db:
        return db.execute("SELECT count(*) FROM item").fetchone()[0]

@pytest.fixture
def extra(shop):
    with postgres.connect(shop, "db") as db:
        db.execute("INSERT INTO item (name) VALUES ('of a fixture')")

@pytest.mark.parametrize("turn", range(2))
@pytest.mark.restore("db")
def test_marked(shop, extra, turn):
    assert count(shop) == 3

def test_by_hand(shop, extra, fresh):
    fresh("db")
    assert count(shop) == 2

def test_several_by_hand(shop, extra, fresh):
    with redis.connect(shop, "cache") as cache:
        cache.set("greeting", "bye")
        fresh("cache", "db")
        assert cache.get("greeting") in ("hello", b"hello")
    assert count(shop) == 2

def test_unknown(shop, fresh):
    with pytest.raises(harness.ConfigError, match="no stack that it uses has a service 'bd'"):
        fresh("bd")
"""


@pytest.mark.parametrize("scope", ["session", "function"])
def test_tests_ask_for_it_by_a_mark_or_a_fixture(project: Project, scope: str) -> None:
    """A mark must reset before what the test's fixtures put in, the fixture ``fresh`` at once, each of several."""
    write(project)
    (project.root / "test_it.py").write_text(TESTS.replace("SCOPE", scope))
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:randomly", "-W", "ignore", timeout=120)
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_a_stack_that_workers_share_is_not_reset(project: Project) -> None:
    """Under the tests of another worker nothing may be brought back; a stack of a module is its worker's alone."""
    write(project)
    (project.root / "test_shared.py").write_text(TESTS.replace("SCOPE", "session"))
    done = run_in(project, "-m", "pytest", "-q", "-rs", "-n", "2", "-W", "ignore", timeout=120)
    assert "is shared by workers of pytest-xdist" in done.stdout, done.stdout + done.stderr
    (project.root / "test_shared.py").write_text(TESTS.replace("SCOPE", "module"))
    done = run_in(project, "-m", "pytest", "-q", "-n", "2", "-W", "ignore", timeout=120)
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_a_mark_that_names_nothing_is_refused(project: Project) -> None:
    """A service that no stack of the test has must be an error of the test, with the nearest name."""
    write(project)
    (project.root / "test_it.py").write_text(
        textwrap.dedent(
            """
            import pytest, harness
            shop = harness.stack_fixture("s")

            @pytest.mark.restore("dbb")
            def test_it(shop):
                pass
            """
        )
    )
    done = run_in(project, "-m", "pytest", "-q", "-W", "ignore", timeout=120)
    assert "no stack that it uses has a service 'dbb'; did you mean 'db'?" in done.stdout


def test_probes_seeds_and_reset_are_the_same_in_containers(dock: Dock) -> None:
    """With images the same file must be seeded, asked and reset as it is with presets."""
    built = {name: {"build": str(ROOT / "images" / name)} for name in ("postgres", "redis")}
    store = cache(command="redis-server --requirepass hush")
    write(dock, db=database() | built["postgres"], cache=store | built["redis"])
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        with postgres.connect(stack, "db") as connection:
            connection.execute("DELETE FROM item")
        with redis.connect(stack, "cache") as client:
            client.set("left", "over")
            stack.service("cache").reset()
            assert client.keys("*") == ["greeting"]
        stack.service("db").reset()
        assert names_in(stack) == ["lamp", "rope"]
