"""Puts the declared data into a stack: topics, messages, HTTP requests, commands, documents."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.clock import Aside, Deadline, poll
from harness.errors import BrokenStack, HarnessError
from harness.helpers import http
from harness.helpers.late import postgres, quiet_kafka
from harness.helpers.redis_plain import PlainRedis, Refusal, commands
from harness.helpers.search_plain import PlainSearch, plant
from harness.last_words import cause_of, last_line
from harness.refusals import missing_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.procs import Finished
    from harness.stack import ExecSeed, HttpSeed, RedisSeed, SearchSeed, Seed, SqlSeed, Store

EXEC_BUDGET = 60.0


@dataclass(frozen=True)
class Surroundings:
    """What a seed needs to know of the running stack.

    Attributes:
        folder: where relative files start from.
        broker: written broker (NAME:PORT or None) -> bootstrap servers.
        address: (service, port) -> (host, port).
        store: (kind, service or None) -> the database or store that is meant.
        execute: (service, argv, seconds) -> what the command did, run in that service.
        stack: the running stack, for ``python`` seeds.
    """

    folder: Path
    broker: Callable[[str | None], str]
    address: Callable[[str, int], tuple[str, int]]
    store: Callable[[str, str | None], Store]
    execute: Callable[[str, tuple[str, ...], float], Finished]
    stack: object


def _content(table: Mapping[str, object], folder: Path) -> bytes:
    """Return what a seed's ``value``, ``json`` or ``file`` stands for."""
    if table.get("file"):
        return (folder / str(table["file"])).read_bytes()
    if table.get("value") is not None:
        return str(table["value"]).encode()
    return json.dumps(table.get("json")).encode()


def apply(seed: Seed, around: Surroundings) -> None:
    """Put one seed into the stack.

    Raises:
        BrokenStack: it was refused; the error names the seed and the answer.
    """
    try:
        _apply(seed, around)
    except BrokenStack:
        raise
    except (HarnessError, OSError) as error:
        reason = error.summary if isinstance(error, HarnessError) else str(error)
        raise BrokenStack(f"Seed {seed.key!r} was not planted: {reason}") from error


def plant_within(
    deadline: Deadline,
    seed: Seed,
    around: Surroundings,
    *,
    wake: threading.Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Plant a seed aside, so that it can be left.

    Args:
        deadline: when to give up.
        seed: what to plant.
        around: where.
        wake: an event that is set when there is something to check.
        check: raises to end the wait.

    Raises:
        BrokenStack: it was refused, or was not planted in time.
    """
    wake = wake or threading.Event()
    planting = Aside(lambda: apply(seed, around), wake)
    for _ in poll(deadline, wake=wake):
        if planting.is_over():
            return planting.result()
        check()
    raise _too_long(seed, planting.seconds)


def _too_long(seed: Seed, seconds: float) -> BrokenStack:
    """Return the error for a seed that was waited for in vain."""
    act = f"python {seed.python}" if seed.python else seed.key
    return BrokenStack(f"Seed {seed.key!r} was not planted: {act} has not returned for {seconds:.1f} s")


def _apply(seed: Seed, around: Surroundings) -> None:
    if seed.topics is not None or seed.message is not None:
        with quiet_kafka(around.broker(seed.message.broker if seed.message else None)) as kafka:
            if seed.topics:
                kafka.create_topics(seed.topics)
            if seed.message:
                content = _content(seed.message.model_dump(by_alias=True), around.folder)
                kafka.send(seed.message.topic, content, key=seed.message.key)
    elif seed.http is not None:
        _request(seed.key, seed.http, around)
    elif seed.exec is not None:
        _execute(seed.key, seed.exec, around)
    elif seed.sql is not None:
        _run_sql(seed.key, seed.sql, around)
    elif seed.redis is not None:
        _run_redis(seed.key, seed.redis, around)
    elif seed.search is not None:
        _fill_index(seed.key, seed.search, around)
    elif seed.python is not None:
        module, _, name = seed.python.partition(":")
        try:
            getattr(import_module(module), name)(around.stack)
        except (HarnessError, OSError):
            raise
        # The user's code raises whatever it likes, sys.exit() too; all of it means that the seed failed.
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            raise BrokenStack(
                f"Seed {seed.key!r}: python {seed.python} raised {type(error).__name__}: {error}"
            ) from error


def _request(key: str, seed: HttpSeed, around: Surroundings) -> None:
    """Make an HTTP request. Raises BrokenStack when it is answered otherwise than wanted."""
    host, port = around.address(seed.service, seed.port)
    body, headers = None, {}
    if seed.file or "json_" in seed.model_fields_set:
        body = _content(seed.model_dump(by_alias=True), around.folder)
        headers = {"Content-Type": "application/json"}
    answer = http.ask(host, port, seed.path, method=seed.method, body=body, headers=headers, timeout=30.0)
    if answer.status not in seed.status:
        raise BrokenStack(f"Seed {key!r}: {seed.method} {seed.path} was answered with {answer}")


def _execute(key: str, seed: ExecSeed, around: Surroundings) -> None:
    """Run a command in a service. Raises BrokenStack when it fails, or HarnessError when it cannot be run."""
    done = around.execute(seed.service, seed.command, EXEC_BUDGET)
    if done.code != 0:
        lines = (done.stderr or done.stdout).splitlines()
        missing = missing_program(" ".join(lines))
        cause = f"there is no program {missing!r}" if missing else cause_of(lines) or last_line(lines)
        ending = f"{done.ending(EXEC_BUDGET)}{f': {cause}' if cause else ''}"
        raise BrokenStack(
            f"Seed {key!r} in {seed.service!r}: {ending}",
            details=[f"command: {' '.join(seed.command)}", *lines[-10:]],
        )


def _run_sql(key: str, seed: SqlSeed, around: Surroundings) -> None:
    """Run SQL in a database. Raises BrokenStack, ConfigError without the library, or OSError."""
    store, library = around.store("postgres", seed.service), postgres()
    text = (around.folder / seed.file).read_text(encoding="utf-8") if seed.file else ""
    try:
        with library.open_store(store, database=seed.database) as connection:
            if seed.file:
                library.run_text(connection, text, seed.file)
            else:
                library.run_statements(connection, seed.statements or ())
    except library.SqlFailure as failure:
        raise BrokenStack(f"Seed {key!r} in {seed.service!r}: {failure.summary}", service=seed.service) from failure


def _run_redis(key: str, seed: RedisSeed, around: Surroundings) -> None:
    """Send commands to a server. Raises BrokenStack, HarnessError or OSError."""
    store = around.store("redis", seed.service)
    listed = commands((around.folder / seed.file).read_text(encoding="utf-8"))
    try:
        with PlainRedis(store.host, store.port, store.login.password, timeout=EXEC_BUDGET) as redis:
            refused = next(iter(redis.run([words for _, words in listed])), None)
    except Refusal as refusal:
        raise BrokenStack(f"Seed {key!r} in {store.service!r}: {refusal.summary}", service=store.service) from refusal
    if refused:
        line, words = listed[refused[0]]
        raise BrokenStack(
            f"Seed {key!r} in {store.service!r}: {seed.file}:{line}: {refused[1].summary} in: {' '.join(words)[:200]}",
            service=store.service,
        )


def _fill_index(key: str, seed: SearchSeed, around: Surroundings) -> None:
    """Put documents into an index. Raises BrokenStack, HarnessError or OSError."""
    store = around.store("search", seed.service)
    engine = PlainSearch(store.host, store.port, timeout=EXEC_BUDGET)
    file, mapping = (around.folder / name if name else None for name in (seed.file, seed.mapping))
    try:
        plant(engine, seed.index, file=file, mapping=mapping)
    except HarnessError as error:
        raise BrokenStack(f"Seed {key!r} in {store.service!r}: {error.summary}", service=store.service) from error
