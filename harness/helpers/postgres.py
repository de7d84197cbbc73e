"""PostgreSQL for tests, by psycopg 3: a connection to a stack's service, and SQL run as ``psql`` would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from harness.errors import HarnessError
from harness.helpers.sql_text import Statement, statements
from harness.helpers.stores import store_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.helpers.stores import Running
    from harness.stack import Store

OURS = "harness"
"""What our sessions are called at the server."""
LOOKING = "harness-residue"
"""What those are called that look at what tests leave: nobody needs to wait for their end, or to be told of it."""
SHOWN = 200  # characters of a statement that was refused
# Error codes (appendix A of its documentation) of what no waiting will change: no such database, a password that is
# not its, a user that may not come in, and a statement that is none.
NO_DATABASE, NO_PASSWORD = "3D000", "28P01"
FOR_GOOD = (NO_DATABASE, NO_PASSWORD, "28000", "42601")


class SqlFailure(HarnessError):
    """The server refused. ``code`` is its error code (SQLSTATE), "" when it could not be reached."""

    def __init__(self, summary: str, code: str = "") -> None:
        super().__init__(summary)
        self.code = code


def connect(
    stack: Running,
    service: str,
    *,
    database: str | None = None,
    autocommit: bool = True,
    timeout: float = 10.0,
    **options: Any,  # noqa: ANN401 - the library's own
) -> psycopg.Connection[Any]:
    """Return a connection of ``psycopg``; closed by ``close()``, or as a context manager.

    Args:
        stack: the stack.
        service: the service's name.
        database: another database than that of the service.
        autocommit: whether each statement is committed by itself.
        timeout: seconds until it is connected.
        options: passed on to ``psycopg.connect``.

    Raises:
        ConfigError: there is no such service, or it publishes no port.
        SqlFailure: it cannot be reached, or the database does not exist.
    """
    return open_store(
        store_in(stack, service, "postgres"), database=database, autocommit=autocommit, timeout=timeout, **options
    )


def url(stack: Running, service: str, *, database: str | None = None) -> str:
    """Return ``postgresql://...`` of a service's database. Raises ConfigError as ``connect`` does."""
    return store_in(stack, service, "postgres").url(database)


def open_store(
    store: Store,
    *,
    database: str | None = None,
    autocommit: bool = True,
    timeout: float = 10.0,
    **options: Any,  # noqa: ANN401 - the library's own
) -> psycopg.Connection[Any]:
    """Return a connection to a store; as ``connect``."""
    login = store.login
    wanted = login.database if database is None else database
    try:
        return psycopg.connect(
            host=store.host,
            port=store.port,
            user=login.user,
            password=login.password or None,
            dbname=wanted,
            connect_timeout=max(2, round(timeout)),  # libpq knows whole seconds, two at least
            autocommit=autocommit,
            **{"application_name": OURS, **options},
        )
    except psycopg.Error as error:
        raise failure(error, f"database {wanted!r} at {store.host}:{store.port}") from error


def failure(error: psycopg.Error, where: str) -> SqlFailure:
    """Return the server's error as one of ours; ``where`` names what it is of."""
    # A refused connection has no SQLSTATE of its own: the text of libpq is all there is.
    text = error.diag.message_primary or str(error).strip()
    code = error.sqlstate or ""
    if not code and "does not exist" in text and "database" in text:
        code = NO_DATABASE
    if not code and "password authentication failed" in text:
        code = NO_PASSWORD
    reason = text.rpartition("FATAL:")[2].strip() if "FATAL:" in text else text.splitlines()[-1] if text else "?"
    details = [part for part in (error.diag.message_detail, error.diag.message_hint) if part]
    return SqlFailure(f"{where}: {'; '.join([reason, *details])}", code)


def first_value(connection: psycopg.Connection[Any], query: str) -> bool:
    """Return whether a query gives no rows at all (a command), or a first row whose first value is not null or false.

    Raises:
        SqlFailure: the server refused it.
    """
    try:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else (True,)
    except psycopg.Error as error:
        raise failure(error, query) from error
    return row is not None and (not row or (row[0] is not None and row[0] is not False))


def run_text(connection: psycopg.Connection[Any], text: str, name: str) -> None:
    """Run a file's statements as ``psql`` would; ``name`` is the file's, for errors.

    Raises:
        SqlFailure: the server refused one, which is told with its line.
    """
    connection.execute("SET synchronous_commit = off")  # what is seeded need not outlive a crash of the machine
    try:
        parts = statements(text)
        for statement in parts:
            _run(connection, statement, f"{name}:")
    except SqlFailure:
        raise
    except HarnessError as error:
        raise SqlFailure(f"{name}: {error.summary}") from error


def run_statements(connection: psycopg.Connection[Any], texts: Iterable[str]) -> None:
    """Run some statements. Raises SqlFailure as ``run_text`` does; an entry may be several statements."""
    for number, text in enumerate(texts, 1):
        for statement in statements(text):
            _run(connection, statement, f"statement {number}, line ")


def _run(connection: psycopg.Connection[Any], statement: Statement, name: str) -> None:
    try:
        if statement.data is None:
            connection.execute(statement.text.encode(), prepare=False)
            return
        with connection.cursor() as cursor, cursor.copy(statement.text.encode()) as copy:
            copy.write(statement.data)
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 1) - 1
        line = statement.line + statement.text.count("\n", 0, position)
        shown = " ".join(statement.text.split())
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
        code = f" ({error.sqlstate})" if error.sqlstate else ""
        problem = failure(error, f"{name}{line}").summary
        raise SqlFailure(f"{problem}{code} in: {shown}", error.sqlstate or "") from error
