"""Copies of a PostgreSQL server's databases as they were seeded, and how one takes a database's place.

For each database the server has two more: one that stays as it was seeded, and a spare copy of it, which is renamed
into place: that takes no longer for a large database. The next spare is then made by the server while nobody waits. All
is told from the server itself, so that any later run can do it.
"""

from __future__ import annotations

import hashlib
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from harness.clock import Deadline, poll
from harness.errors import HarnessError
from harness.helpers.postgres import LOOKING, OURS, failure, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.stack import Store

SEEDED, SPARE, OLD = "harness_seeded_", "harness_spare_", "harness_old_"
ENDING = 10.0  # seconds in which a session that is terminated must have ended
PARTING = 1.0  # seconds in which the server has noticed that one of our connections was closed
COPYING = 60.0  # seconds for a spare copy that is being made
STRATEGY_SINCE = 150000  # the server's version, as a number


class NothingCopied(HarnessError):
    """No copy of a server's databases was made when they were seeded."""


def take_quietly(store: Store, databases: Iterable[str]) -> bool:
    """Copy databases as they are now, unless somebody is connected to one; return whether they were copied.

    Raises:
        SqlFailure: the server refused it.
    """
    listed = list(databases)
    with _speaking(store) as connection:
        try:
            if not _is_left(connection, listed):
                return False
            for database in listed:
                _copy(store, connection, database)
        except (psycopg.errors.ObjectInUse, HarnessError):
            _forget(connection, listed)
            return False
    return True


def take(store: Store, databases: Iterable[str]) -> int:
    """Copy databases as they are now; return how many sessions were terminated for that.

    Raises:
        SqlFailure: the server refused it.
    """
    terminated = 0
    with _speaking(store) as connection:
        for database in databases:
            _do(connection, "ALTER DATABASE {} ALLOW_CONNECTIONS false", database)
            try:
                terminated += _end_sessions(connection, database)
                _copy(store, connection, database)
            finally:
                _do(connection, "ALTER DATABASE {} ALLOW_CONNECTIONS true", database)
    return terminated


def _copy(store: Store, connection: psycopg.Connection[Any], database: str) -> None:
    """Copy a database that nobody is connected to, and have the server begin a spare copy."""
    seeded, spare = SEEDED + _digest(database), SPARE + _digest(database)
    _forget(connection, [database])
    connection.execute(_copying(connection, database, seeded))
    _do(connection, "ALTER DATABASE {} ALLOW_CONNECTIONS false", seeded)
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(seeded), database))
    copying = _copying(connection, seeded, spare).as_string(connection)
    _begin(open_store(store, database=_admin(store)), copying)


def _forget(connection: psycopg.Connection[Any], databases: Iterable[str]) -> None:
    """Remove what there is of copies."""
    for database in databases:
        for name in (SEEDED + _digest(database), SPARE + _digest(database)):
            _do(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _is_left(connection: psycopg.Connection[Any], databases: Sequence[str]) -> bool:
    """Return whether nobody is connected to databases; sessions of our own that were closed are waited for."""
    for _ in poll(Deadline.after(PARTING)):
        names = connection.execute(
            "SELECT application_name, CASE application_name WHEN %s THEN pg_terminate_backend(pid) END "
            "FROM pg_stat_activity "
            "WHERE datname = ANY(%s) AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            (LOOKING, databases),
        ).fetchall()
        if not names:
            return True
        if any(name not in (OURS, LOOKING) for name, _ in names):
            return False
    return False


def bring_back(store: Store) -> int:
    """Have every database that was copied be as it was then; return how many sessions were terminated for that.

    Raises:
        NothingCopied: there is nothing to bring back.
        SqlFailure: the server refused it.
    """
    terminated = 0
    behind: list[str] = []  # what nobody waits for
    with _speaking(store) as connection:
        copied = connection.execute(
            "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE starts_with(datname, %s)",
            (SEEDED,),
        ).fetchall()
        if not copied:
            raise NothingCopied("no copy of it was made when it was seeded")
        for seeded, database in copied:
            spare = SPARE + _digest(database)
            _await_spare(connection, seeded, spare)
            number, ended = _make_way(connection, database, spare)
            terminated += ended
            behind += [f"DROP DATABASE {OLD}{number} WITH (FORCE)"] if number else []
            behind.append(_copying(connection, seeded, spare).as_string(connection))
        for statement in behind[:-1]:
            _begin(open_store(store, database=_admin(store)), statement)
        _begin(connection, behind[-1])
    return terminated


def _make_way(connection: psycopg.Connection[Any], database: str, spare: str) -> tuple[int, int]:
    """Rename a database away and its spare copy into place; return the number of the old one and the sessions ended."""
    row = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", (database,)).fetchone()
    if row is None:  # somebody has dropped it
        _do(connection, "ALTER DATABASE {} RENAME TO {}", spare, database)
        return 0, 0
    number = int(row[0])
    _do(connection, "ALTER DATABASE {} ALLOW_CONNECTIONS false", database)
    try:
        ended = _end_sessions(connection, database)
        with connection.transaction():
            _inherit(connection, number, spare)
            _do(connection, "ALTER DATABASE {} RENAME TO {}", database, f"{OLD}{number}")
            _do(connection, "ALTER DATABASE {} RENAME TO {}", spare, database)
    except BaseException:
        with suppress(psycopg.Error):
            _do(connection, "ALTER DATABASE {} ALLOW_CONNECTIONS true", database)
        raise
    return number, ended


def _inherit(connection: psycopg.Connection[Any], number: int, spare: str) -> None:
    """Give a copy what is of a database itself, not in it: permissions and settings (ALTER DATABASE ... SET)."""
    connection.execute(
        "UPDATE pg_database SET datacl = (SELECT datacl FROM pg_database WHERE oid = %s) WHERE datname = %s",
        (number, spare),
    )
    connection.execute(
        "INSERT INTO pg_db_role_setting SELECT d.oid, s.setrole, s.setconfig FROM pg_db_role_setting s, pg_database d "
        "WHERE s.setdatabase = %s AND d.datname = %s",
        (number, spare),
    )


def _await_spare(connection: psycopg.Connection[Any], seeded: str, spare: str) -> None:
    """Wait until the spare copy is there; make it when nobody does."""
    for _ in poll(Deadline.after(COPYING)):
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (spare,)).fetchone():
            return
        making = connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' "
            "AND starts_with(query, 'CREATE DATABASE') AND strpos(query, %s) > 0",
            (spare,),
        )
        if not making.fetchone():
            break
    with suppress(psycopg.errors.DuplicateDatabase):  # it was made between these two questions
        connection.execute(_copying(connection, seeded, spare))


def _copying(connection: psycopg.Connection[Any], source: str, target: str) -> sql.Composed:
    """Return what makes a copy of a database."""
    row = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (source,)).fetchone()
    if row is None:
        raise HarnessError(f"database {source!r} does not exist")
    # A copy by way of the log needs no checkpoint, which all that the server has to write would take part in.
    strategy = " STRATEGY wal_log" if connection.info.server_version >= STRATEGY_SINCE else ""
    return sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}" + strategy).format(
        *(sql.Identifier(name) for name in (target, row[0], source))
    )


def _end_sessions(connection: psycopg.Connection[Any], database: str) -> int:
    """Terminate all sessions of a database, and wait until they have ended; return how many clients lost theirs."""
    clients = 0
    for turn, _ in enumerate(poll(Deadline.after(ENDING))):
        rows = connection.execute(
            "SELECT pid, backend_type = 'client backend' AND application_name <> %s FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid()",
            (LOOKING, database),
        ).fetchall()
        if not rows:
            return clients
        if turn == 0:
            clients = sum(bool(is_client) for _, is_client in rows)
        # Without its own time-out, which looks again after a tenth of a second only.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", ([pid for pid, _ in rows],)
        )
    raise HarnessError(f"sessions of database {database!r} did not end in {ENDING:g} s")


def _begin(connection: psycopg.Connection[Any], statement: str) -> None:
    """Give the server a statement that nobody waits for: it goes on with it when the connection is closed."""
    connection.pgconn.send_query(statement.encode())
    connection.pgconn.flush()
    connection.close()


def _do(connection: psycopg.Connection[Any], statement: Any, *names: str) -> None:  # noqa: ANN401 - SQL of ours
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


@contextmanager
def _speaking(store: Store) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection to a database that is not copied, with the server's errors as ours."""
    with closing(open_store(store, database=_admin(store))) as connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise failure(error, f"service {store.service!r}") from error


def _admin(store: Store) -> str:
    """Return a database that is there and is not the one that is copied."""
    return "template1" if store.login.database == "postgres" else "postgres"


def _digest(database: str) -> str:
    """Return what stands for a database in names, which have 63 bytes at most."""
    return hashlib.sha256(database.encode()).hexdigest()[:12]
