"""What of a project is secret: values of variables that say so, and what its stacks are given."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from harness.artifacts import read_regular
from harness.errors import HarnessError
from harness.notices.redaction import secrets_in
from harness.stack import login_of, read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.config import Settings
    from harness.stack import Service, Stack

LARGEST = 1 << 20  # bytes of a file with a secret


def known_secrets(settings: Settings) -> list[str]:
    """Return all that is known: of the environment, of the project's variables, and of the stacks that may be used."""
    found = secrets_in(settings.environ)
    found += secrets_in(settings.env or {})
    for name in _stacks(settings):
        with contextlib.suppress(HarnessError):  # what is wrong with it is said by whoever wants it
            files, strict = settings.stack_files(name), settings.strict_variables
            tree = read_tree(files, settings.environ, profiles=settings.profiles, strict=strict, folder=settings.root)
            for stack in tree.stacks:
                found += _of_stack(stack, settings)
    return list(dict.fromkeys(found))


def _stacks(settings: Settings) -> list[str]:
    names = [name for name in (settings.stack,) if name]
    with contextlib.suppress(HarnessError):
        names.append(settings.default_stack())
    names += settings.system.stacks if settings.system else ()
    return list(dict.fromkeys(names))


def _of_stack(stack: Stack, settings: Settings) -> Iterator[str]:
    for service in stack.services:
        yield from _of_service(service)
    for table in stack.secrets.values():
        if not isinstance(table, dict):
            continue
        if isinstance(table.get("content"), str):
            yield table["content"]
        if isinstance(table.get("environment"), str):
            yield settings.environ.get(table["environment"], "")
        if isinstance(table.get("file"), str):
            yield _text(stack.folder / table["file"])


def _of_service(service: Service) -> Iterator[str]:
    yield from secrets_in(service.environment)
    for process in (service.settings.embedded, service.settings.local):
        if process:
            yield from secrets_in({name: str(value) for name, value in process.environment.items()})
    login = login_of(service)
    if login and login.password:
        yield login.password


def _text(path: Path) -> str:
    try:
        return read_regular(path, LARGEST).decode(errors="surrogateescape")
    except OSError:
        return ""
