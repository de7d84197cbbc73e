"""What is known of subjects: ``[tool.harness.subjects.<name>]``, where their images come from, and what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from harness.config.options import VARIABLE_NAME
from harness.errors import ConfigError, nearest

KINDS = ("build", "git", "prebuilt", "archive")
BUILD_KEYS: dict[str, type] = {"context": str, "dockerfile": str, "target": str, "args": dict}
ABOUT_KEYS: dict[str, type] = {"version": str, "licence": str, "synonyms": list}
SUBJECT_KEYS: dict[str, type] = {
    "build": dict,
    "git": str,
    "commit": str,
    "prebuilt": str,
    "archive": str,
    **BUILD_KEYS,
    **ABOUT_KEYS,
}
# A name and a tag or digest; what an image may really be called is the engine's to say.
IMAGE = re.compile(r"[^\s:@=]+(?::\d+/[^\s:@=]+)?(?::[\w.\-]+|@\w+:[0-9a-f]+|:[\w.\-]+@\w+:[0-9a-f]+)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SCHEMES = ("https", "http", "ssh", "git", "file")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:[^/\s].*", re.ASCII)  # such as git@example.org:group/project.git


@dataclass(frozen=True)
class Subject:
    """What the table of a subject says.

    Attributes:
        name: of the subject, or of the service.
        kind: which of the sources its image has; ``declared`` for what the stack's file says.
        where: file and table, for people.
        section: the section ``build`` of a service, its context a whole path or, of a repository, a path in that; empty
            where nothing is built.
        git: the repository, "" for none. It may hold a password: ``repository`` is what may be shown.
        commit: the commit of that.
        image: name and tag of a prebuilt one, else "".
        archive: the archive that has it, None for none.
        synonyms: other variables that choose the image, as ``<NAME>_CONTAINER`` does.
        about: its version and licence, where they are known.
    """

    name: str
    kind: Literal["declared", "build", "git", "prebuilt", "archive"]
    where: str
    section: Mapping[str, Any] = field(default_factory=dict)
    git: str = field(default="", repr=False)
    commit: str = ""
    image: str = ""
    archive: Path | None = None
    synonyms: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> str:
        """The repository without what only its owner may know."""
        return without_secrets(self.git)


def without_secrets(url: str) -> str:
    """Return a URL without user and password, where it has a password or is fetched by HTTP; else as it is."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None or "@" not in parts.netloc:
        return url
    user, _, host = parts.netloc.rpartition("@")
    if ":" not in user and parts.scheme not in ("http", "https"):
        return url
    return urlunsplit(parts._replace(netloc=host))


def read_subjects(tables: Mapping[str, Any], root: Path, pyproject: Path) -> dict[str, Subject]:
    """Return subject -> what its table says.

    Args:
        tables: ``[tool.harness.subjects]``.
        root: the project's folder, which paths begin at.
        pyproject: the file, for errors.

    Raises:
        ConfigError: with everything that is wrong in them.
    """
    problems: list[str] = []
    found = {}
    for name, table in tables.items():
        where = f"{pyproject}: [tool.harness.subjects.{name}]"
        if not isinstance(table, dict):
            problems.append(f"{where} is {type(table).__name__} {table!r}, a table was needed")
            continue
        wrong = _problems(table)
        if wrong:
            problems += [f"{where}: {problem}" for problem in wrong]
        else:
            known = {key: str(table[key]) for key in ("version", "licence") if key in table}
            synonyms = tuple(table.get("synonyms", ()))
            found[name] = replace(_subject(name, table, root, where), synonyms=synonyms, about=known)
    if problems:
        raise ConfigError.of(problems)
    return found


def _problems(table: Mapping[str, Any]) -> list[str]:
    wrong = _wrong_keys(table, SUBJECT_KEYS)
    kinds = [kind for kind in KINDS if kind in table]
    is_about = not kinds and any(key in table for key in ABOUT_KEYS)
    if len(kinds) != 1 and not wrong and not is_about:
        has = " and ".join(kinds) if kinds else "none"
        wrong.append(f"has {has} of {', '.join(KINDS)}; exactly one was needed")
    for variable in table.get("synonyms", ()) if not wrong else ():
        if not isinstance(variable, str) or not VARIABLE_NAME.fullmatch(variable):
            wrong.append(f"synonyms has {variable!r}, the name of a variable was needed")
    if wrong:
        return wrong
    kind = kinds[0] if kinds else "stack file"
    if kind == "build":
        wrong += [f"build: {problem}" for problem in _wrong_keys(table["build"], BUILD_KEYS)]
    if kind != "git":
        extra = [key for key in ("commit", *BUILD_KEYS) if key in table]
        place = "in the table build" if kind == "build" else "with git"
        wrong += [f"{key} goes {place if key != 'commit' else 'with git'}, and this has {kind}" for key in extra]
    if kind == "git":
        wrong += _wrong_git(table)
    if kind == "prebuilt" and not IMAGE.fullmatch(table["prebuilt"]):
        wrong.append(f"prebuilt {table['prebuilt']!r} is no image with a tag; NAME:TAG was needed")
    if kind == "archive" and not table["archive"]:
        wrong.append("archive is empty; the path of an archive was needed")
    return wrong


def _wrong_git(table: Mapping[str, Any]) -> list[str]:
    wrong, url, commit = [], str(table["git"]), table.get("commit", "")
    scheme = urlsplit(url).scheme if "://" in url else ""
    if not url or url.startswith("-") or "::" in url or (scheme and scheme not in _SCHEMES) or re.search(r"\s", url):
        wrong.append(
            f"git {without_secrets(url)!r} is no repository; a path or a URL ({', '.join(_SCHEMES)}) was needed"
        )
    if not commit:
        wrong.append("commit is missing; the 40 hexadecimal digits of a commit were needed")
    elif not _COMMIT.fullmatch(commit):
        wrong.append(
            f"commit {commit!r} is no whole commit; 40 hexadecimal digits were needed, as `git rev-parse` has them"
        )
    context = Path(table.get("context", "."))
    if context.is_absolute() or ".." in context.parts:
        wrong.append(f"context {str(context)!r} leaves the repository; a folder in it was needed")
    return wrong


def _wrong_keys(table: Mapping[str, Any], keys: Mapping[str, type]) -> list[str]:
    wrong = []
    for key, value in table.items():
        if key not in keys:
            wrong.append(f"key {key!r} is not known{nearest(key, keys)}")
        elif not isinstance(value, keys[key]):
            wrong.append(f"{key} is {type(value).__name__} {value!r}, a {keys[key].__name__} was needed")
    arguments = table.get("args")
    if isinstance(arguments, dict):
        wrong += [
            f"args: {name} is {type(value).__name__}, a text or a number was needed"
            for name, value in arguments.items()
            if not isinstance(value, str | int | float)
        ]
    return wrong


def _subject(name: str, table: Mapping[str, Any], root: Path, where: str) -> Subject:
    if "build" in table:
        return Subject(name, "build", where, section=_section(table["build"], str(root)))
    if "git" in table:
        url = str(table["git"])
        if "://" not in url and not _SCP.fullmatch(url):
            url = str((root / url).resolve())
        return Subject(name, "git", where, section=_section(table), git=url, commit=table["commit"])
    if "prebuilt" in table:
        return Subject(name, "prebuilt", where, image=table["prebuilt"])
    if "archive" in table:
        return Subject(name, "archive", where, archive=root / table["archive"])
    return Subject(name, "declared", where)


def _section(table: Mapping[str, Any], root: str = "") -> dict[str, Any]:
    """Return the section ``build`` of a service, as Compose normalises it."""
    section: dict[str, Any] = {"context": str(Path(root, table.get("context", ".")))}
    section |= {key: table[key] for key in ("dockerfile", "target") if key in table}
    section.setdefault("dockerfile", "Dockerfile")
    if "args" in table:
        section["args"] = {name: _text(value) for name, value in table["args"].items()}
    return section


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
