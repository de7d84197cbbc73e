"""What tests leave in stores: planted in real servers, found by what looks at them, and removed by name."""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from projects import Project
from stores_stack import write_stores

from harness.clock import Deadline, now, poll
from harness.errors import HarnessError
from harness.helpers import postgres, redis
from harness.helpers.kafka import Kafka
from harness.helpers.search_plain import PlainSearch
from harness.residue.stores import WITHIN, Stores
from harness.residue.watching import Left, difference
from harness.runs import running
from harness.runs.places import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg
    from fresh import Starter

    from harness import Stack
    from harness.residue.watching import Watcher

NS = "w0_test_it_0123abcd"


@dataclass
class Clients:
    """Clients of each store, as a test has them."""

    stack: Stack
    sql: psycopg.Connection[Any]
    redis: Any
    kafka: Kafka
    search: PlainSearch
    stores: Stores
    until: ExitStack = field(default_factory=ExitStack)  # of the test: what it leaves goes away after it

    def another(self, **options: Any) -> psycopg.Connection[Any]:
        """Return one more connection to the database, which is open until the test has ended."""
        connection = postgres.connect(self.stack, "db", **options)
        self.until.callback(connection.close)
        return connection

    def watchers(self) -> list[Watcher]:
        """Return what watches all of them."""
        places = [place_of(self.stack.service(name)) for name in self.stack.services]
        return [watcher for place in places if place for watcher in self.stores.watchers(place, is_shared=False)]

    def look(self) -> list[tuple[Watcher, object, dict[str, str]]]:
        """Return what stands now, of each watcher."""
        return [(watcher, watcher.glance(), dict(watcher.look())) for watcher in self.watchers()]

    def left(self, before: list[tuple[Watcher, object, dict[str, str]]]) -> set[Left]:
        """Return what is residue now; a glance that is as before must not hide anything."""
        found: set[Left] = set()
        for (watcher, glance, things), (_, later, now_there) in zip(before, self.look(), strict=True):
            differing = {
                left
                for left in difference(watcher.kind, things, now_there)
                if left.change != "removed" or watcher.counts_removed
            }
            assert glance != later or not differing
            found |= differing
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, starter: Starter) -> Iterator[Stack]:
    """A stack with a store of each kind."""
    folder = tmp_path_factory.mktemp("stores")
    root, state = folder / "project", folder / "state"
    root.mkdir()
    state.mkdir(mode=0o700)
    project = Project(root, state)
    project.starter = starter
    write_stores(project)
    run = project.run()
    with running(run):
        yield run.bring("s")
    assert not project.wait_until_gone(30)


@pytest.fixture(scope="module")
def servers(stack: Stack) -> Iterator[Clients]:
    """Clients for all tests, and what the project of the tests has by itself."""
    store = stack.service("search").store
    assert store
    with (
        postgres.connect(stack, "db") as sql,
        redis.connect(stack, "cache") as cache,
        Kafka(stack.endpoint("kafka", 9092), evidence=False) as kafka,
    ):
        sql.execute("CREATE TABLE item (id serial PRIMARY KEY, name text)")
        sql.execute("INSERT INTO item (name) VALUES ('a'), ('b')")
        sql.execute("CREATE TABLE note (words text)")
        sql.execute("CREATE SEQUENCE orders")
        cache.set("greeting", "hello")
        kafka.create_topics({"events": 2})
        search = PlainSearch(store.host, store.port)
        search.make("pets", {})
        stores = Stores()
        clients = Clients(stack, sql, cache, kafka, search, stores)
        yield clients
        clients.sql.close()  # which may be another one by now
        stores.close()


@pytest.fixture
def clients(servers: Clients) -> Iterator[Clients]:
    """The same, with what a test leaves taken away after it."""
    with ExitStack() as until:
        servers.until = until
        yield servers


def sql(*statements: str, undo: str = "") -> Callable[[Clients], None]:
    """Return what has statements run."""

    def plant(clients: Clients) -> None:
        for statement in statements:
            clients.sql.execute(statement.encode())
        if undo:
            clients.until.callback(clients.sql.execute, undo.encode())

    return plant


def _idle(clients: Clients) -> None:
    clients.another(autocommit=False).execute("SELECT 1")


def _advisory(clients: Clients) -> None:
    clients.another().execute("SELECT pg_advisory_lock(42)")


def _prepared(clients: Clients) -> None:
    connection = clients.another(autocommit=False)
    connection.execute("INSERT INTO note VALUES ('x')")
    connection.execute("PREPARE TRANSACTION 'transfer'")
    clients.until.callback(clients.sql.execute, "ROLLBACK PREPARED 'transfer'")


def _key(clients: Clients) -> None:
    clients.redis.set("session:1", "x")
    clients.until.callback(clients.redis.delete, "session:1")


def _longer_list(clients: Clients) -> None:
    clients.redis.append("greeting", "!")
    clients.until.callback(clients.redis.set, "greeting", "hello")


def _lost_key(clients: Clients) -> None:
    clients.redis.delete("greeting")
    clients.until.callback(clients.redis.set, "greeting", "hello")


def _other_database(clients: Clients) -> None:
    client = redis.connect(clients.stack, "cache", database=3)
    client.rpush("queue", "a", "b")
    clients.until.callback(client.close)
    clients.until.callback(client.flushdb)


def _topic(clients: Clients) -> None:
    clients.kafka.create_topics({"orders": 3})
    clients.until.callback(clients.kafka.delete_topics, "orders")


def _lost_topic(clients: Clients) -> None:
    clients.kafka.delete_topics("events")
    clients.until.callback(clients.kafka.create_topics, {"events": 2})


def _consumer(clients: Clients, group: str) -> Consumer:
    clients.kafka.send("events", "x", partition=0)
    options = {"bootstrap.servers": clients.kafka.bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    consumer = Consumer(options)
    consumer.subscribe(["events"])
    for _ in poll(Deadline.after(10), pause=False):
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            break
    consumer.commit(asynchronous=False)
    return consumer


def _group(clients: Clients) -> None:
    _consumer(clients, "readers").close()
    clients.until.callback(_forget_group, clients, "readers")


def _member(clients: Clients) -> None:
    consumer = _consumer(clients, "readers")
    clients.until.callback(_forget_group, clients, "readers")
    clients.until.callback(consumer.close)


def _forget_group(clients: Clients, name: str) -> None:
    future = clients.kafka._connection.admin.delete_consumer_groups([name])[name]
    with suppress(KafkaException):
        future.result(10)


def _transaction(clients: Clients) -> None:
    producer = Producer({"bootstrap.servers": clients.kafka.bootstrap, "transactional.id": "t", "log_level": 0})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("events", b"x", partition=1)
    producer.flush(10)
    clients.until.callback(producer.abort_transaction, 10)


def _index(clients: Clients) -> None:
    clients.search.make("owners", {})
    clients.until.callback(clients.search.drop, "owners")


def _document(clients: Clients) -> None:
    clients.search.bulk("pets", b'{"index":{"_id":"1"}}\n{"name":"Tibbles"}\n')
    clients.until.callback(clients.search.request, "DELETE", "/pets/_doc/1")


def _alias(clients: Clients) -> None:
    clients.search.request("PUT", "/pets/_alias/animals")
    clients.until.callback(clients.search.request, "DELETE", "/pets/_alias/animals")


def _template(clients: Clients) -> None:
    clients.search.request("PUT", "/_index_template/logs", b'{"index_patterns": ["logs-*"], "template": {}}')
    clients.until.callback(clients.search.request, "DELETE", "/_index_template/logs")


# What a test leaves -> what is to be told of it.
LEAKS: dict[str, tuple[Callable[[Clients], None], Left]] = {
    "table": (sql("CREATE TABLE t ()", undo="DROP TABLE t"), Left("postgres", "db: table public.t", "0 rows")),
    "view": (sql("CREATE VIEW v AS SELECT 1", undo="DROP VIEW v"), Left("postgres", "db: view public.v")),
    "row and id": (
        sql("INSERT INTO item (id, name) VALUES (9, 'c')", undo="DELETE FROM item WHERE id = 9"),
        Left("postgres", "db: table public.item", "3 rows, ids to 9", "changed"),
    ),
    "row": (
        sql("INSERT INTO note VALUES ('x')", undo="DELETE FROM note"),
        Left("postgres", "db: table public.note", "1 row", "changed"),
    ),
    "rows that are gone": (
        sql("DELETE FROM item WHERE id = 2", undo="INSERT INTO item VALUES (2, 'b')"),
        Left("postgres", "db: table public.item", "1 row, ids to 1", "changed"),
    ),
    "table that is gone": (
        sql("DROP TABLE note", undo="CREATE TABLE note (words text)"),
        Left("postgres", "db: table public.note", "0 rows", "removed"),
    ),
    "sequence's value": (
        sql("SELECT nextval('orders')"),
        Left("postgres", "db: sequence public.orders", "at 1", "changed"),
    ),
    "sequence": (
        sql("CREATE SEQUENCE s", undo="DROP SEQUENCE s"),
        Left("postgres", "db: sequence public.s", "not used yet"),
    ),
    "schema": (sql("CREATE SCHEMA other", undo="DROP SCHEMA other"), Left("postgres", "db: schema other")),
    "database": (sql("CREATE DATABASE other", undo="DROP DATABASE other"), Left("postgres", "db: database other")),
    "role": (sql("CREATE ROLE other", undo="DROP ROLE other"), Left("postgres", "db: role other")),
    "idle transaction": (
        _idle,
        Left("postgres sessions", "db: session PID of app, idle in a transaction since TIME", "harness"),
    ),
    "advisory lock": (_advisory, Left("postgres sessions", "db: advisory lock 42", "held by session PID")),
    "prepared transaction": (_prepared, Left("postgres sessions", "db: prepared transaction transfer", "of app")),
    "key": (_key, Left("redis", "cache: key session:1", "string of 1")),
    "longer value": (_longer_list, Left("redis", "cache: key greeting", "string of 6", "changed")),
    "key that is gone": (_lost_key, Left("redis", "cache: key greeting", "string of 5", "removed")),
    "key elsewhere": (_other_database, Left("redis", "cache: key queue in database 3", "list of 2")),
    "topic": (_topic, Left("kafka topics", "kafka: topic orders", "3 partitions")),
    "topic that is gone": (_lost_topic, Left("kafka topics", "kafka: topic events", "2 partitions", "removed")),
    "group": (_group, Left("kafka groups", "kafka: group readers")),
    "member": (_member, Left("kafka groups", "kafka: members of group readers")),
    "open transaction": (_transaction, Left("kafka groups", "kafka: open transaction in events[1] from OFFSET on")),
    "index": (_index, Left("search", "search: index owners", "0 documents")),
    "document": (_document, Left("search", "search: index pets", "1 document", "changed")),
    "alias": (_alias, Left("search", "search: alias animals", "of pets")),
    "template": (_template, Left("search", "search: template logs")),
}
# What comes with it.
ALSO = {
    "member": {Left("kafka groups", "kafka: group readers")},
    "sequence's value": set[Left](),
}


def _without_numbers(left: Left) -> Left:
    name = re.sub(r"(?<=session )\d+", "PID", re.sub(r"(?<=since )[\d:.]+", "TIME", left.name))
    detail = re.sub(r"(?<=session )\d+", "PID", left.detail)
    return Left(left.kind, re.sub(r"(?<=from )\d+", "OFFSET", name), detail, left.change)


@pytest.mark.parametrize("leak", LEAKS)
def test_what_a_test_leaves_in_a_store_is_found_and_its_end_seen(clients: Clients, leak: str) -> None:
    """Each thing must be told, alone and in these words; and when it was taken away again nothing must be."""
    plant, wanted = LEAKS[leak]
    before = clients.look()
    assert clients.left(before) == set()
    plant(clients)
    assert {_without_numbers(left) for left in clients.left(before)} == {wanted, *ALSO.get(leak, ())}
    clients.until.close()
    if leak != "sequence's value":
        for _ in poll(Deadline.after(5)):
            if not clients.left(before):
                break
        assert clients.left(before) == set()


HARMLESS: dict[str, tuple[str, ...]] = {
    "a row that was taken away again": ("INSERT INTO item (name) VALUES ('c')", "DELETE FROM item WHERE name = 'c'"),
    "a transaction that was undone": ("BEGIN", "INSERT INTO item (name) VALUES ('c')", "ROLLBACK"),
    "a temporary table": ("CREATE TEMPORARY TABLE passing (i int)", "DROP TABLE passing"),
    "vacuum": ("VACUUM ANALYZE item",),
    "a value that was written again": ("UPDATE item SET name = name",),
    "a lock that was given back": ("SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_leaves_nothing_is_not_told(clients: Clients, what: str) -> None:
    """What ends as it began must be no residue, whatever it has counted up on its way."""
    before = clients.look()
    for statement in HARMLESS[what]:
        clients.sql.execute(statement.encode())
    assert clients.left(before) == set()


def test_a_key_that_ends_by_itself_is_not_told_as_gone(clients: Clients) -> None:
    """A key with a time to live must be told when it was left, and its end must be nobody's doing."""
    before = clients.look()
    clients.redis.set("token", "x", px=300)
    (left,) = clients.left(before)
    assert left == Left("redis", "cache: key token", "string of 1, which ends by itself")
    later = clients.look()
    for _ in poll(Deadline.after(5)):
        if not clients.redis.exists("token"):
            break
    assert clients.left(later) == set()


def test_many_keys_are_told_by_their_number(clients: Clients) -> None:
    """Where listing would take too long the number of keys must be told."""
    clients.redis.mset({f"k{number}": "x" for number in range(6000)})
    clients.until.callback(clients.redis.delete, *(f"k{number}" for number in range(6000)))
    before = clients.look()
    clients.redis.set("session:1", "x")
    clients.until.callback(clients.redis.delete, "session:1")
    assert clients.left(before) == {Left("redis", "cache: keys of database 0", "6002 keys", "changed")}


def test_a_locked_table_makes_no_look_wait_and_is_as_it_was_seen_last(clients: Clients) -> None:
    """A table that somebody has locked cannot be counted: who did it is told, and nothing is made up of the table."""
    before = clients.look()
    connection = clients.another(autocommit=False)
    connection.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    begun = now()
    left = clients.left(before)
    assert now() - begun < 1
    assert [thing.kind for thing in left] == ["postgres sessions"]


def test_whoever_looks_is_not_in_the_way_of_a_copy_of_the_database(clients: Clients) -> None:
    """A test that copies the database must not be refused because somebody has looked at it before."""
    clients.look()
    clients.sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'harness'"
        " AND pid <> pg_backend_pid()"
    )
    clients.sql.close()
    with postgres.connect(clients.stack, "db", database="postgres") as admin:
        admin.execute("CREATE DATABASE copy TEMPLATE shop")
        admin.execute("DROP DATABASE copy")
    clients.sql = postgres.connect(clients.stack, "db")


def test_what_bears_a_tests_name_is_removed_from_all_stores(clients: Clients) -> None:
    """Databases, schemas, tables, views, roles, keys, topics, groups, indices and templates so named must be gone."""
    before = clients.look()
    for statement in (
        f"CREATE DATABASE {NS}_copy", f"CREATE SCHEMA {NS}", f"CREATE TABLE {NS}.inner_one ()",
        f'CREATE TABLE "{NS}.x" ()', f"CREATE VIEW {NS}_view AS SELECT 1", f"CREATE SEQUENCE {NS}_orders",
        f"CREATE ROLE {NS}_role", f"GRANT SELECT ON item TO {NS}_role",
        f"CREATE TABLE {NS}_serial (id serial)", f"CREATE MATERIALIZED VIEW {NS}_m AS SELECT 1",
    ):  # fmt: skip
        clients.sql.execute(statement.encode())
    clients.redis.set(f"{NS}:1", "x")
    with redis.connect(clients.stack, "cache", database=5) as other:
        other.set(NS, "x")
    clients.kafka.create_topics({NS: 1, f"{NS}_more": 2})
    _consumer(clients, f"{NS}_readers").close()
    clients.search.make(f"{NS}_index", {"aliases": {f"{NS}_its": {}}})
    clients.search.request("PUT", f"/pets/_alias/{NS}_alias")
    clients.search.request(
        "PUT", f"/_index_template/{NS}", f'{{"index_patterns": ["{NS}*"], "template": {{}}}}'.encode()
    )
    assert len(clients.left(before)) == 18
    places = [place for name in clients.stack.services if (place := place_of(clients.stack.service(name)))]
    assert clients.stores.remove(places, NS) == ()
    assert clients.left(before) == set()


def test_what_cannot_be_removed_is_told_with_the_reason(clients: Clients) -> None:
    """A group that still has a member must be told as not removed, and so must be why."""
    consumer = _consumer(clients, f"{NS}_readers")
    place = place_of(clients.stack.service("kafka"))
    assert place
    (left,) = clients.stores.remove([place], NS)
    assert (left.kind, left.name) == ("kafka groups", f"kafka: group {NS}_readers")
    assert left.detail.startswith("not removed: ")
    assert "not empty" in left.detail
    consumer.close()
    assert clients.stores.remove([place], NS) == ()


@pytest.mark.parametrize("name", ["db", "cache", "search", "kafka"])
def test_a_store_that_does_not_answer_is_waited_for_once(stack: Stack, name: str) -> None:
    """A store that is stopped must be told within two seconds, and no later look must wait for it; then it is new."""
    service = stack.service(name)
    place = place_of(service)
    assert place
    stores = Stores()
    watcher = stores.watchers(place, is_shared=False)[-1]
    watcher.look()
    service.pause()
    sessions = psutil.Process(service.pid).children()  # of PostgreSQL: a process each
    try:
        for session in sessions:
            session.suspend()
        begun = now()
        with pytest.raises(HarnessError, match=f"service {name!r}: "):
            watcher.look()
        assert now() - begun < WITHIN + 1
        begun = now()
        for again in stores.watchers(place, is_shared=False):
            with pytest.raises(HarnessError):
                again.glance()
        assert now() - begun < 0.1
    finally:
        for session in sessions:
            session.resume()
        service.unpause()
    stores.forget(place.stack)
    stores.watchers(place, is_shared=False)[0].look()
    stores.close()
