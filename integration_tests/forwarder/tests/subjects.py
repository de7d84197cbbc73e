"""The table of subjects: what the forwarder that is tested is like, and which tests are not for it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

TABLE = Path(__file__).parent.parent / "subjects.toml"
VARIABLE = "FORWARDER_SUBJECT"
DEFAULT = "ours"
DIALECTS = ("json", "rf5k", "fc00")
DATA = ("f142", "f144")
BESIDE = ("ep00", "ep01", "al00", "f142", "f144")
FEATURES = ("alarms", "strings", "exit-command", "streams-file", "storage", "passwords", "idle-updates", "fake-pvs")
_KEYS: dict[str, type] = {
    "commands": list,
    "data": str,
    "beside": list,
    "exit-code": int,
    "adding": str,
    "environment": dict,
    "cannot": dict,
}
_NEEDED = ("commands", "data", "exit-code", "adding")
_WORDS = {list: "a list of texts", str: "a text", int: "a number", dict: "a table of texts"}


@dataclass(frozen=True)
class Subject:
    """A forwarder as the tests know it.

    Attributes:
        name: its name in the table.
        commands: dialects of commands that it obeys, of which tests prefer the first.
        data: schema of its updates.
        exit_code: how it ends when it gets TERM.
        adding: words that its log has when it was told to add a stream.
        beside: schemas of messages among its updates that tests pass over.
        environment: variables that say how it is started.
        cannot: what it does not have -> why.
    """

    name: str
    commands: tuple[str, ...]
    data: str
    exit_code: int
    adding: str
    beside: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, needed: Iterable[str]) -> str:
        """Return why a test that needs these dialects and features is not for it, "" when it is."""
        for name in needed:
            if name in DIALECTS and name not in self.commands:
                return f"subject {self.name!r} takes no {name} commands: {', '.join(self.commands)} only"
            if name in self.cannot:
                return f"subject {self.name!r} has no {name}: {self.cannot[name]}"
        return ""

    def set_in(self, environ: MutableMapping[str, str]) -> None:
        """Put the variables that say how it is started where stacks are read from; those that are there stay."""
        for name, value in self.environment.items():
            environ.setdefault(name, value)


def chosen(environ: Mapping[str, str], table: Path = TABLE) -> Subject:
    """Return the subject that ``FORWARDER_SUBJECT`` names. Raises ConfigError."""
    subjects = read(table)
    name = environ.get(VARIABLE) or DEFAULT
    if name not in subjects:
        raise ConfigError(
            f"{VARIABLE}={name}: there is no such subject; there are: {', '.join(subjects)}{nearest(name, subjects)}",
            hint=f"declare it in {table}",
        )
    return subjects[name]


def read(table: Path) -> dict[str, Subject]:
    """Return the subjects of a table by name. Raises ConfigError with everything that is wrong in it."""
    try:
        document = tomllib.loads(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{table}: {error}") from error
    problems = [f"{table}: {problem}" for name, entry in document.items() for problem in _problems(name, entry)]
    if problems:
        raise ConfigError.of(problems)
    return {name: _subject(name, entry) for name, entry in document.items()}


def _subject(name: str, entry: dict[str, Any]) -> Subject:
    return Subject(
        name=name,
        commands=tuple(entry["commands"]),
        data=entry["data"],
        exit_code=entry["exit-code"],
        adding=entry["adding"],
        beside=tuple(entry.get("beside", ())),
        environment=entry.get("environment", {}),
        cannot=entry.get("cannot", {}),
    )


def _problems(name: str, entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{name} = {entry!r}: a table [{name}] was needed"]
    where = f"[{name}]"
    problems = [f"{where} key {key!r} is not known{nearest(key, _KEYS)}" for key in entry if key not in _KEYS]
    problems += [f"{where} {key} is missing" for key in _NEEDED if key not in entry]
    for key, value in entry.items():
        if key in _KEYS and not _is_of(value, _KEYS[key]):
            problems.append(f"{where} {key} is {value!r}, {_WORDS[_KEYS[key]]} was needed")
    return problems or [*_unknown(where, entry), *_misplaced(where, entry)]


def _is_of(value: object, kind: type) -> bool:
    texts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return type(value) is kind and all(isinstance(text, str) and text for text in texts)


def _unknown(where: str, entry: dict[str, Any]) -> list[str]:
    """Return which values of an entry are none that the tests know."""
    written: list[tuple[str, str, tuple[str, ...]]] = [("commands", word, DIALECTS) for word in entry["commands"]]
    written += [("data", entry["data"], DATA)]
    written += [("beside", word, BESIDE) for word in entry.get("beside", ())]
    written += [("cannot", word, FEATURES) for word in entry.get("cannot", ())]
    return [
        f"{where} {key}: {word!r} is not known; valid: {', '.join(valid)}{nearest(word, valid)}"
        for key, word, valid in written
        if word not in valid
    ]


def _misplaced(where: str, entry: dict[str, Any]) -> list[str]:
    problems = [] if entry["commands"] else [f"{where} commands is empty, one dialect was needed"]
    if entry["data"] in entry.get("beside", ()):
        problems.append(f"{where} beside has {entry['data']!r}, which is its data and not passed over")
    problems += [
        f"{where} environment: {name!r} is no variable of compose/forwarder.yaml, which begin with FORWARDER_"
        for name in entry.get("environment", {})
        if not name.startswith("FORWARDER_")
    ]
    return problems
