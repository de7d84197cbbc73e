"""A test of a matrix: what it is called, who takes part, and how long it may take."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError, nearest
from harness.matrix.durations import NEEDED, parse_go_duration
from harness.matrix.resources import Resources
from harness.matrix.tables import Table, shown, text_of, twice

__all__ = ["DEFAULT_TIMEOUT", "DRIVER", "WORKER", "Case", "Resources", "Role", "doubles", "read_case"]

WORKER, DRIVER = "worker", "driver"
DEFAULT_TIMEOUT = 600.0


@dataclass(frozen=True)
class Role:
    """A part in a test.

    Attributes:
        name: ``worker``, ``driver``, or one of the test's own.
        command: what it runs, () for the entry of its implementation with the test's name and its own.
        image: in place of its implementation's, "" for that one.
    """

    name: str
    command: tuple[str, ...] = ()
    image: str = ""


@dataclass(frozen=True)
class Case:
    """A test, as its file says.

    Attributes:
        name: of the file without ``.md``.
        timeout: seconds that a cell may take in all.
        roles: all of them: the test's own in declared order, then worker, then driver.
        description: the Markdown below the header.
        header: the header as it was read, for a dump.
        digest: of the file's content.
        params: name -> the values that it is run with; each combination is a cell of its own.
        resources: what a cell of it takes.
        measures: whether its cells are run alone and keep every sample.
        retries: how often a cell that did not do as was expected is run again.
        skip: pattern of implementations' names -> why cells with one of them are not run.
        notes: what its header has that means nothing here.
    """

    name: str
    timeout: float = DEFAULT_TIMEOUT
    roles: tuple[Role, ...] = (Role(WORKER), Role(DRIVER))
    description: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    measures: bool = False
    retries: int = 0
    skip: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def extras(self) -> tuple[Role, ...]:
        """The roles that are neither worker nor driver, in declared order."""
        return tuple(role for role in self.roles if role.name not in (WORKER, DRIVER))

    @property
    def names_shared(self) -> bool:
        """Whether its text or a command of it names ``/shared``, and so needs the folder at that very path."""
        words = [self.description, *(word for role in self.roles for word in role.command)]
        return any(_SHARED.search(word) for word in words)


_SHARED = re.compile(r"(?<![\w./-])/shared(?![\w-])")
_KEYS = ("timeout", "containers", "params", "resources", "measure", "retries", "skip")
_ROLE_KEYS = ("image", "command")
_FENCE = re.compile(r"(?:`{3,}|~{3,})[^\n]*\n")
_ROLE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")  # it is a host's name, too
_PARAM = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VALUE = re.compile(r"[A-Za-z0-9_.+:-]+")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_OBJECT = '; a JSON object was needed, such as {"timeout": "20s"}'
_MANY = 100  # combinations of parameters of one test


def read_case(name: str, text: str, where: str = "") -> Case:
    """Return a test, as its file says.

    Args:
        name: of the file without ``.md``.
        text: of the file.
        where: the file, for people; its name where nothing is said.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    where = where or f"{name}.md"
    problems: list[str] = []
    if _UNSAFE.search(name) or name != name.strip():
        problems.append(f"{where}: {name!r} is no name of a test: it is part of a path, without control characters")
    header, description = _split(where, text, problems)
    reader = _Header(where, header, problems)
    case = reader.case(name, description, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
    if problems:
        raise ConfigError.of(problems)
    return case


def doubles(cases: Mapping[str, str]) -> list[str]:
    """Return a sentence for each two tests of one name.

    Args:
        cases: file -> name of the test in it.
    """
    first: dict[str, str] = {}
    problems = []
    for file, name in cases.items():
        other = first.setdefault(name.casefold(), file)
        if other != file:
            problems.append(f"{file}: test {name!r} is in {other} too (case does not count); another name was needed")
    return problems


def _split(where: str, text: str, problems: list[str]) -> tuple[Mapping[str, Any], str]:
    """Return header and description."""
    text = text.removeprefix("\ufeff")
    start = len(text) - len(text.lstrip())
    fence = _FENCE.match(text, start)
    start = fence.end() if fence else start
    begin = len(text) - len(text[start:].lstrip())
    if begin >= len(text):
        problems.append(f"{where}: has no header{_OBJECT}")
        return {}, ""
    again: list[str] = []
    try:
        header, end = json.JSONDecoder(object_pairs_hook=twice(again)).raw_decode(text, begin)
    except json.JSONDecodeError as error:
        line = text[begin:].partition("\n")[0].strip()
        problems.append(f"{where}:{error.lineno}: header is no JSON: {error.msg} (it begins {shown(line)}){_OBJECT}")
        return {}, ""
    except (ValueError, RecursionError) as error:
        problems.append(f"{where}: header is no JSON: {str(error) or type(error).__name__}")
        return {}, ""
    problems += [f"{where}: header has {name!r} twice, it was needed once" for name in again]
    rest = text[end:].strip()
    if fence:
        mark = fence[0][:3]
        rest = rest.lstrip(mark[0]).strip() if rest.startswith(mark) else rest
    if not isinstance(header, dict):
        problems.append(f"{where}: header is {shown(header)}, a JSON object was needed")
        return {}, rest
    return header, rest


class _Header(Table):
    """The header of a test; what it has beside ``_KEYS`` is noted, and no mistake."""

    def case(self, name: str, description: str, digest: str) -> Case:
        """Return the test."""
        unknown = [key for key in self.data if key not in _KEYS]
        notes = [f"{self.where}: key {key!r} means nothing here{nearest(key, _KEYS)}" for key in unknown]
        return Case(
            name=name,
            timeout=self._timeout(),
            roles=self._roles(notes),
            description=description,
            header=self.data,
            digest=digest,
            params=self._params(),
            resources=self.resources() or Resources(),
            measures=self.flag("measure"),
            retries=self.count("retries"),
            skip=self._skip(),
            notes=tuple(notes),
        )

    def _timeout(self) -> float:
        value = self.data.get("timeout")
        if value in (None, 0) and not isinstance(value, bool):
            return DEFAULT_TIMEOUT
        try:
            seconds = parse_go_duration(value) if isinstance(value, str) else None
        except ValueError:
            seconds = None
        if seconds is None:
            self.unlike("timeout", NEEDED.removesuffix(" was needed"))
            return DEFAULT_TIMEOUT
        return seconds if seconds > 0 else DEFAULT_TIMEOUT

    def _roles(self, notes: list[str]) -> tuple[Role, ...]:
        found = {}
        for name, data in self.table("containers").items():
            if data is not None and not isinstance(data, Mapping):
                self.wrong(f"containers.{name} is {shown(data)}, an object was needed")
                continue
            if not _ROLE.fullmatch(name):
                self.wrong(f"containers: role {name!r} is no host's name; letters, digits, _ and - were needed")
                continue
            table = Table(f"{self.where}: containers.{name}", data or {}, self.problems)
            notes += [
                f"{table.where}: key {key!r} means nothing here{nearest(key, _ROLE_KEYS)}"
                for key in table.data
                if key not in _ROLE_KEYS
            ]
            before = len(self.problems)
            role = Role(name, table.words("command"), table.text("image"))
            if name not in (WORKER, DRIVER) and not table.has("command"):
                table.wrong("command is missing; a role that is neither worker nor driver needs one")
            elif table.has("command") and not role.command and len(self.problems) == before:
                table.wrong(f"command is {shown(table.data['command'])}, at least one word was needed")
            found[name] = role
        worker, driver = found.pop(WORKER, Role(WORKER)), found.pop(DRIVER, Role(DRIVER))
        return (*found.values(), worker, driver)

    def _params(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        variables: dict[str, str] = {}
        for name, values in self.table("params").items():
            if not _PARAM.fullmatch(name):
                self.wrong(f"params: {name!r} is no name; a letter, then letters, digits, _ and - were needed")
                continue
            variable = name.upper().replace("-", "_")
            if other := variables.get(variable):
                self.wrong(f"params: {name!r} and {other!r} are one variable, INTEROP_PARAM_{variable}")
            variables[variable] = name
            texts = (
                [text_of(value) for value in values if isinstance(value, str | int | float)]
                if isinstance(values, list)
                else []
            )
            if not texts or len(texts) != len(values):
                self.wrong(f"params.{name} is {shown(values)}, a list of texts or numbers was needed")
                continue
            texts = [text_of(value) for value in values]
            self.problems += [
                f"{self.where}: params.{name}: {text!r} is no value; letters, digits and any of _.+:- were needed"
                for text in texts
                if not _VALUE.fullmatch(text)
            ]
            found[name] = tuple(dict.fromkeys(texts))
        combinations = 1
        for several in found.values():
            combinations *= len(several)
        if combinations > _MANY:
            self.wrong(f"params: {combinations} combinations, at most {_MANY} were needed")
        return found

    def _skip(self) -> dict[str, str]:
        value = self.data.get("skip")
        if isinstance(value, str):
            return {"*": value}
        if isinstance(value, bool):
            return {"*": "the test says so"} if value else {}
        return self.reasons("skip")
