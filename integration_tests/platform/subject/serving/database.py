"""What is wrong with the database, in words."""

from __future__ import annotations

from traceback import walk_tb

from django.db import InterfaceError, NotSupportedError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

GONE = (OperationalError, InterfaceError)
"""What Django raises where the database cannot be asked."""


class BadDatabaseError(Exception):
    """The platform cannot work with its database; the words say why."""


def words_of(error: BaseException) -> str:
    """Return what is to be said of an error of Django, in one line."""
    said = " ".join(str(error).split())
    if isinstance(error, NotSupportedError):
        return f"the database is too old for this Django: {said}"
    return f"the database cannot be used: {said}" if isinstance(error, GONE) else said


def migration_of(error: BaseException) -> str:
    """Return the name of the migration in which Django raised an error, which its words do not tell; "" if in none."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code is MigrationExecutor.apply_migration.__code__:
            return str(frame.f_locals["migration"])
    return ""


def check() -> None:
    """Raise BadDatabaseError unless the database can be used, and has every migration."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (*GONE, NotSupportedError) as error:
        raise BadDatabaseError(words_of(error)) from error
    finally:
        connection.close()
    if missing:
        names = ", ".join(str(migration) for migration, _ in missing[:3])
        raise BadDatabaseError(f"the database lacks {len(missing)} migrations ({names}...): python manage.py migrate")
