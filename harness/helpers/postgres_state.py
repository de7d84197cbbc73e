"""What a PostgreSQL server has that a test may leave: how it is told cheaply, listed, and removed by its name.

Whoever looks must not be in the way. A database can only be copied, renamed or dropped while nobody is connected to it,
for which the server waits five seconds; so the connection to the service's own is kept for one at most. And each
question has a deadline of its own, also where the server's process is stopped.
"""

from __future__ import annotations

import select
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq

from harness.clock import Deadline
from harness.helpers.postgres import LOOKING, NO_DATABASE, SqlFailure, open_store
from harness.helpers.postgres_copies import OLD, SEEDED, SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from harness.stack import Store

Rows = list[tuple[str, ...]]
"""What a statement gives; NULL is ""."""

ADMIN = "postgres"  # a database that is on every server
LARGE = 64 << 20  # bytes of a table whose rows would take too long to be counted
UNUSED = 1.0  # seconds after which the connection to the service's own database is closed
TRIES = 3  # looks while somebody drops tables, or locks them
# The server is to give up before we do: by then it has told why.
_LIMITS = "SET statement_timeout = '{statement}ms'; SET lock_timeout = '{lock}ms'"
_GONE = ("42P01", "3F000", "55P03")  # no such table, no such schema, a lock that was not had in time
_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table", "v": "view", "m": "materialized view"}

# Transactions that write have numbers, all over the server and at once; the statistics of tables come a second late.
_GLANCE = "SELECT txid_current_snapshot()::text"
_SESSIONS = """
SELECT pid::text, usename, coalesce(application_name, ''), to_char(xact_start, 'HH24:MI:SS.US')
FROM pg_stat_activity
WHERE datname = {database} AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()
  AND application_name <> {looking}
ORDER BY pid
"""
_LOCKS = """
SELECT CASE objsubid WHEN 1 THEN ((classid::bigint << 32) | objid::bigint)::text ELSE classid || ', ' || objid END,
       string_agg(pid::text, ', ' ORDER BY pid)
FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND granted AND datname = {database} AND pid IS NOT NULL
GROUP BY 1 ORDER BY 1
"""
_PREPARED = "SELECT gid, owner FROM pg_prepared_xacts WHERE database = {database} ORDER BY gid"
_DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname"
_ROLES = "SELECT rolname FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') ORDER BY rolname"
_OWN = "nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
_SCHEMAS = f"SELECT nspname FROM pg_namespace WHERE {_OWN} ORDER BY nspname"  # noqa: S608 - of ours
# Sequences of a column (serial, identity) go on with every insert, also with one that is undone: no test can help that.
_SEQUENCES = f"""
SELECT schemaname || '.' || sequencename, coalesce(last_value::text, '')
FROM pg_sequences JOIN pg_namespace ON nspname = schemaname
JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = sequencename
WHERE {_OWN} AND NOT EXISTS (
  SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype IN ('a', 'i')
  AND refobjsubid > 0)
ORDER BY 1
"""  # noqa: S608
# Of each relation its kind and name, and of a table that can be counted the question that does it.
_RELATIONS = f"""
SELECT relkind, nspname || '.' || relname,
  CASE WHEN relkind <> 'r' OR NOT has_table_privilege(c.oid, 'SELECT') THEN ''
       WHEN EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND mode = 'AccessExclusiveLock' AND granted
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) THEN 'locked'
       WHEN relpages::bigint * 8192 >= {LARGE} THEN
         format('SELECT %L, %L, coalesce(max(%s)::text, %L) FROM %I.%I',
                nspname || '.' || relname, 'many', coalesce(key, 'NULL'), '', nspname, relname)
       ELSE format('SELECT %L, count(*)::text, coalesce(max(%s)::text, %L) FROM %I.%I',
                   nspname || '.' || relname, coalesce(key, 'NULL'), '', nspname, relname) END
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
LEFT JOIN LATERAL (
  SELECT quote_ident(attname) AS key FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
  WHERE indrelid = c.oid AND indisprimary AND indnatts = 1 AND atttypid IN (20, 21, 23)) AS k ON true
WHERE relkind IN ('r', 'p', 'f', 'v', 'm') AND {_OWN}
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 2
"""  # noqa: S608
# In the order in which they are removed: what stands in a schema goes with it.
_NAMED_INSIDE = f"""
SELECT 'schema', nspname, quote_ident(nspname) FROM pg_namespace WHERE {_OWN} AND starts_with(nspname, {{prefix}})
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                    WHEN 'S' THEN 'sequence' ELSE 'table' END,
       nspname || '.' || relname, format('%I.%I', nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND {_OWN} AND starts_with(relname, {{prefix}})
  AND NOT starts_with(nspname, {{prefix}}) AND NOT relispartition
  AND NOT (relkind = 'S' AND EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i')))
UNION ALL
SELECT 'role', rolname, quote_ident(rolname) FROM pg_roles WHERE starts_with(rolname, {{prefix}})
"""  # noqa: S608
_NAMED_OUTSIDE = """
SELECT 'database', datname, quote_ident(datname) FROM pg_database
WHERE NOT datistemplate AND starts_with(datname, {prefix})
"""


class _Passing:
    """A connection that is closed when nobody has used it for a while, and opened again when it is asked for."""

    def __init__(self, make: Callable[[], psycopg.Connection[Any]]) -> None:
        self._make = make
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @contextmanager
    def borrow(self) -> Iterator[psycopg.Connection[Any]]:
        """Give the connection for a block. Raises SqlFailure."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._connection is None:
                self._connection = self._make()
            try:
                yield self._connection
            except BaseException:
                self._drop()
                raise
            self._timer = threading.Timer(UNUSED, self.close)
            self._timer.name = "harness-residue-unused"
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Disconnect, for now."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class PostgresState:
    """What is in a server, as far as it is of a service's database.

    Args:
        store: the service.
        within: seconds for each answer.

    Raises:
        SqlFailure: it cannot be reached.
    """

    def __init__(self, store: Store, *, within: float) -> None:
        self._store = store
        self._within = within
        self._details: dict[str, str] = {}  # of tables, as they were last seen when nobody had locked them
        self._has_sequences = False
        self._inside = _Passing(lambda: self._open(store.login.database))
        try:
            self._connection = self._open(ADMIN)
        except SqlFailure as failure:
            if failure.code != NO_DATABASE:
                raise
            self._connection = self._open(store.login.database)

    def _open(self, database: str) -> psycopg.Connection[Any]:
        connection = open_store(self._store, database=database, timeout=self._within, application_name=LOOKING)
        limit = round(self._within * 1000)
        try:
            self._ask(connection, _LIMITS.format(statement=limit * 3 // 4, lock=limit // 10))
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Disconnect."""
        self._inside.close()
        self._connection.close()

    def glance(self) -> Hashable:
        """Return counters that are equal as long as nothing was written.

        Raises:
            SqlFailure: the server refused, or did not answer.
        """
        told = self._ask(self._connection, _GLANCE)[0][0]
        if not self._has_sequences:
            return told
        with self._inside.borrow() as connection:  # a value is drawn without a transaction's number
            return (*told, *self._ask(connection, _SEQUENCES)[0])

    def look(self) -> Mapping[str, str]:
        """Return thing -> its detail, of what lasts. Raises as ``glance``."""
        databases, roles = self._ask(self._connection, _DATABASES, _ROLES)
        found = {f"database {name}": "" for (name,) in databases if not name.startswith((SEEDED, SPARE, OLD))}
        found |= {f"role {name}": "" for (name,) in roles}
        with self._inside.borrow() as connection:
            return found | self._look_inside(connection)

    def passing(self) -> Mapping[str, str]:
        """Return thing -> its detail, of what is to end by itself. Raises as ``glance``."""
        sessions, locks, prepared = self._ask(self._connection, _SESSIONS, _LOCKS, _PREPARED)
        found = {
            f"session {pid} of {user}, idle in a transaction since {since}": client
            for pid, user, client, since in sessions
        }
        found |= {f"advisory lock {key}": f"held by session {pids}" for key, pids in locks}
        return found | {f"prepared transaction {name}": f"of {owner}" for name, owner in prepared}

    def _look_inside(self, connection: psycopg.Connection[Any]) -> dict[str, str]:
        """Return what is in the service's database."""
        for turn in range(TRIES):
            schemas, sequences, relations = self._ask(connection, _SCHEMAS, _SEQUENCES, _RELATIONS)
            questions = [question for *_, question in relations if question.startswith("SELECT")]
            try:
                counted = self._ask(connection, " UNION ALL ".join(questions))[0] if questions else []
            except SqlFailure as failure:
                if failure.code not in _GONE or turn == TRIES - 1:
                    raise
                continue
            break
        self._has_sequences = bool(sequences)
        details = {name: _counted(count, last) for name, count, last in counted}
        self._details |= details
        found = {f"schema {name}": "" for (name,) in schemas}
        found |= {f"sequence {name}": f"at {value}" if value else "not used yet" for name, value in sequences}
        for kind, name, question in relations:
            detail = self._details.get(name, question) if question == "locked" else details.get(name, "")
            found[f"{_KINDS[kind]} {name}"] = detail
        return found

    def remove(self, prefix: str) -> Mapping[str, str]:
        """Remove databases, schemas, tables, views, sequences and roles whose names begin so.

        Returns:
            What could not be removed, by its name as ``look`` has it -> why.

        Raises:
            SqlFailure: the server did not say what there is.
        """
        refused = self._drop(self._connection, _NAMED_OUTSIDE, prefix)
        with self._inside.borrow() as connection:
            return refused | self._drop(connection, _NAMED_INSIDE, prefix)

    def _drop(self, connection: psycopg.Connection[Any], listing: str, prefix: str) -> dict[str, str]:
        refused = {}
        for kind, name, quoted in self._ask(connection, listing.replace("{prefix}", _literal(prefix)))[0]:
            statement = f"DROP {kind.upper()} IF EXISTS {quoted}"
            if kind == "role":
                statement = f"DROP OWNED BY {quoted} CASCADE; {statement}"
            else:
                statement += " WITH (FORCE)" if kind == "database" else " CASCADE"
            try:
                self._ask(connection, statement)
            except SqlFailure as failure:
                refused[f"{kind} {name}"] = failure.summary
        return refused

    def _ask(self, connection: psycopg.Connection[Any], *statements: str) -> list[Rows]:
        """Return what each statement gives. Raises SqlFailure."""
        text = ";".join(statements)
        for word, value in (("{database}", self._store.login.database), ("{looking}", LOOKING)):
            text = text.replace(word, _literal(value))
        try:
            return list(_answers(connection.pgconn, text.encode(), Deadline.after(self._within)))
        except (psycopg.Error, OSError) as error:
            raise SqlFailure(str(error).strip() or type(error).__name__) from error


def _answers(connection: pq.abc.PGconn, text: bytes, deadline: Deadline) -> Iterator[Rows]:
    """Give the rows of each statement. Raises SqlFailure, psycopg.Error and OSError."""
    connection.send_query(text)
    while connection.flush():
        _wait(connection, deadline, writing=True)
    refused = None
    while True:
        while connection.is_busy():
            _wait(connection, deadline)
            connection.consume_input()
        result = connection.get_result()
        if result is None:
            break
        if result.status == pq.ExecStatus.FATAL_ERROR:
            code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            words = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"?").decode(errors="replace")
            refused = SqlFailure(words, code)
        elif result.status == pq.ExecStatus.TUPLES_OK:
            yield _rows(result)
    if refused:
        raise refused


def _wait(connection: pq.abc.PGconn, deadline: Deadline, *, writing: bool = False) -> None:
    """Wait until a connection can be read or written. Raises TimeoutError."""
    socket = [connection.socket]
    if not any(select.select([] if writing else socket, socket if writing else [], [], deadline.remaining())):
        raise TimeoutError(f"no answer in {deadline.budget:g} s")


def _rows(result: pq.abc.PGresult) -> Rows:
    return [
        tuple((result.get_value(row, column) or b"").decode(errors="replace") for column in range(result.nfields))
        for row in range(result.ntuples)
    ]


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _counted(count: str, last: str) -> str:
    rows = f"{count} row{'s' if count != '1' else ''}"
    return f"{rows}, ids to {last}" if last else rows
