"""Suites whose tests leave something in stores, and suites whose tests do not while a neighbour is at work there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in, run_json
from stores_stack import write_stores

if TYPE_CHECKING:
    from harness import procs

CONFTEST = """
import harness, pytest
stores = harness.stack_fixture("s", scope="session")

@pytest.fixture(scope="module")
def seeded(stores):
    from harness.helpers import postgres, redis
    from harness.helpers.kafka import Kafka
    with postgres.connect(stores, "db") as db, redis.connect(stores, "cache") as cache:
        db.execute("CREATE TABLE item (id serial PRIMARY KEY, name text)")
        db.execute("CREATE SEQUENCE orders")
        cache.set("greeting", "hello")
    with Kafka(stores.endpoint("kafka", 9092)) as kafka:
        kafka.create_topics({"events": 2})
    store = stores.service("search").store
    from harness.helpers.search_plain import PlainSearch
    PlainSearch(store.host, store.port).make("pets", {})

@pytest.fixture(autouse=True)
def _seeded(seeded):
    pass
"""
HEAD = """
import pytest
from confluent_kafka import Consumer, Producer
from harness.clock import Deadline, poll
from harness.helpers import postgres, redis
from harness.helpers.kafka import Kafka
from harness.helpers.search_plain import PlainSearch
KEPT = []

def sql(stores, statement):
    with postgres.connect(stores, "db") as db:
        db.execute(statement)

def session(stores, *statements, **options):
    KEPT.append(postgres.connect(stores, "db", **options))
    for statement in statements:
        KEPT[-1].execute(statement)

def cache(stores, *words):
    with redis.connect(stores, "cache") as client:
        client.execute_command(*words)

def topic(stores, name):
    with Kafka(stores.endpoint("kafka", 9092)) as kafka:
        kafka.create_topics({name: 1})

def member(stores, group):
    at = stores.endpoint("kafka", 9092)
    with Kafka(at) as kafka:
        kafka.send("events", "x")
    consumer = Consumer({"bootstrap.servers": at, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe(["events"])
    for _ in poll(Deadline.after(20), pause=False):
        if consumer.poll(0.1):
            break
    consumer.commit(asynchronous=False)
    return consumer

def transaction(stores):
    at = stores.endpoint("kafka", 9092)
    producer = Producer({"bootstrap.servers": at, "transactional.id": "t", "log_level": 0})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("events", b"x", partition=1)
    producer.flush(10)
    KEPT.append(producer)

def search(stores, method, path, body="{}"):
    store = stores.service("search").store
    PlainSearch(store.host, store.port).request(method, path, body.encode())
"""
# The name of a test -> what it does, the kind of what it leaves, and how that is called.
LEAKS = {
    "table": ("sql(stores, 'CREATE TABLE t ()')", "postgres", "db: table public.t"),
    "row": ("sql(stores, \"INSERT INTO item VALUES (7, 'x')\")", "postgres", "db: table public.item"),
    "sequence": ("sql(stores, \"SELECT nextval('orders')\")", "postgres", "db: sequence public.orders"),
    "schema": ("sql(stores, 'CREATE SCHEMA other')", "postgres", "db: schema other"),
    "database": ("sql(stores, 'CREATE DATABASE other')", "postgres", "db: database other"),
    "role": ("sql(stores, 'CREATE ROLE other')", "postgres", "db: role other"),
    "idle": ("session(stores, 'SELECT 1', autocommit=False)", "postgres sessions", "db: session "),
    "lock": ("session(stores, 'SELECT pg_advisory_lock(42)')", "postgres sessions", "db: advisory lock 42"),
    "prepared": (
        "session(stores, \"INSERT INTO item VALUES (8, 'y')\", \"PREPARE TRANSACTION 'tx'\", autocommit=False)",
        "postgres sessions", "db: prepared transaction tx",
    ),
    "key": ("cache(stores, 'SET', 'session', 'x')", "redis", "cache: key session"),
    "value": ("cache(stores, 'APPEND', 'greeting', '!')", "redis", "cache: key greeting"),
    "topic": ("topic(stores, 'orders')", "kafka topics", "kafka: topic orders"),
    "group": ("member(stores, 'readers').close()", "kafka groups", "kafka: group readers"),
    "member": ("KEPT.append(member(stores, 'others'))", "kafka groups", "kafka: members of group others"),
    "transaction": ("transaction(stores)", "kafka groups", "kafka: open transaction in events[1] from "),
    "index": ("search(stores, 'PUT', '/owners')", "search", "search: index owners"),
    "document": ("search(stores, 'PUT', '/pets/_doc/1', '{\"a\": 1}')", "search", "search: index pets"),
    "alias": ("search(stores, 'PUT', '/pets/_alias/animals')", "search", "search: alias animals"),
    "template": (
        "search(stores, 'PUT', '/_index_template/logs', '{\"index_patterns\": [\"l-*\"], \"template\": {}}')",
        "search", "search: template logs",
    ),
}  # fmt: skip


def pytest_in(project: Project, tests: str, *argv: str, timeout: float = 400) -> procs.Finished:
    """Run pytest on one file of tests, in a project with a store of each kind."""
    write_stores(project)
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(HEAD + tests)
    return run_in(
        project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "suite", *argv, timeout=timeout
    )


def left(project: Project) -> list[dict[str, Any]]:
    """Return what run.json tells of things that were left."""
    things: list[dict[str, Any]] = run_json(project).get("residue", [])
    return things


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], procs.Finished]:
    """What was told of a suite in which every other test leaves something, each something else."""
    project = Project(tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("state"))
    clean = "def test_clean_{0}(stores): pass\n"
    done = pytest_in(project, "".join(f"def test_{n}(stores): {d}\n{clean.format(n)}" for n, (d, *_) in LEAKS.items()))
    return left(project), done


@pytest.mark.parametrize("leak", LEAKS)
def test_what_is_left_in_a_store_is_told_of_its_test(
    planted: tuple[list[dict[str, Any]], procs.Finished], leak: str
) -> None:
    """Each thing must be told of the test that left it, by its kind and name."""
    _, kind, name = LEAKS[leak]
    told = [(thing["kind"], thing["name"]) for thing in planted[0] if thing["test"].endswith(f"::test_{leak}")]
    assert any(is_kind == kind and is_name.startswith(name) for is_kind, is_name in told), (told, planted[1].stdout)


def test_no_clean_test_between_them_is_told_of(planted: tuple[list[dict[str, Any]], procs.Finished]) -> None:
    """Nothing must be told of any other test, and the run must end with 13."""
    names = {thing["test"].rpartition("::")[2] for thing in planted[0] if not thing["by"]}
    assert names == {f"test_{leak}" for leak in LEAKS}, planted[1].stdout
    assert planted[1].code == 13


NEIGHBOUR = """
import itertools, sys
from confluent_kafka import Consumer
from harness.clock import Deadline, poll
from harness.helpers.kafka import Kafka
from harness.helpers.redis_plain import PlainRedis
from harness.helpers.search_plain import PlainSearch
import psycopg

database, other, cache, broker, search = sys.argv[1:]
with psycopg.connect(database, autocommit=True) as db:
    db.execute("CREATE DATABASE w3_other")
own, host = psycopg.connect(other), lambda at: (at.partition(":")[0], int(at.partition(":")[2]))
own.execute("CREATE TABLE mine (id serial, words text)")
same = psycopg.connect(database)  # it uses the same database, too, and leaves nothing there
redis, kafka, engine = PlainRedis(*host(cache)), Kafka(broker), PlainSearch(*host(search))
print("at work", flush=True)
for turn in itertools.count():
    own.execute("INSERT INTO mine (words) VALUES ('x')")
    own.commit()
    own.execute("SELECT pg_advisory_lock(%s)", (turn,))
    same.execute("INSERT INTO item (name) VALUES ('passing')")
    same.execute("SELECT pg_advisory_xact_lock(7)")
    same.rollback() if turn % 2 else same.execute("DELETE FROM item WHERE name = 'passing'")
    same.commit()
    redis.ask("SET", f"w3_test_{turn % 50}", "x")
    kafka.create_topics({f"w3_topic_{turn % 20}": 1})
    engine.make(f"w3_index_{turn % 5}", {})
    if turn % 3 == 0:
        kafka.delete_topics(f"w3_topic_{turn % 20}")
        redis.ask("DEL", f"w3_test_{turn % 50}")
"""
CLEAN = """
import sys, subprocess

@pytest.fixture(scope="module", autouse=True)
def neighbour(stores, seeded):
    urls = [postgres.url(stores, "db", database=name) for name in ("shop", "w3_other")]
    ends = [stores.endpoint(*end) for end in (("cache", 6379), ("kafka", 9092), ("search", 9200))]
    program = __file__.replace("test_it", "neighbour")
    process = subprocess.Popen([sys.executable, program, *urls, *ends], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("at work")
    yield
    assert process.poll() is None
    process.kill()
    process.wait()
    process.stdout.close()

@pytest.mark.parametrize("number", range(500))
def test_clean(stores, ns, number):
    if number % 5 == 0:
        with postgres.connect(stores, "db") as db:
            db.execute("INSERT INTO item (name) VALUES ('mine')")
            db.execute("DELETE FROM item WHERE name = 'mine'")
            db.execute(f"CREATE TABLE {ns} (i int)")
    if number % 5 == 1:
        cache(stores, "SET", ns, "x")
    if number % 5 == 2:
        topic(stores, ns)
    if number % 5 == 3:
        search(stores, "PUT", f"/{ns}")
"""


def test_clean_tests_give_no_false_alarm_beside_a_busy_neighbour(project: Project) -> None:
    """Of 500 tests that leave nothing none must be told of, whatever another client does in the same servers."""
    folder = project.root / "suite"
    write_stores(project)
    folder.mkdir()
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(HEAD + CLEAN)
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suite", timeout=550)
    assert [thing for thing in left(project) if not thing["by"]] == [], done.stdout
    assert "500 passed" in done.stdout, done.stdout + done.stderr
