"""An implementation that takes part in a matrix, as ``interop.toml`` says."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from harness.errors import ConfigError, nearest
from harness.matrix.cases import DRIVER, WORKER
from harness.matrix.contracts.known import CONTRACTS, DEFAULT
from harness.matrix.tables import Table, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.resources import Resources


@dataclass(frozen=True)
class Source:
    """Where the program of an implementation comes from.

    Attributes:
        kind: a folder with a Dockerfile, an image by digest or id, a commit of a repository with a Dockerfile, or
            nothing but a command of this machine.
        folder: the absolute path of what is built; of ``git``, within the repository.
        image: the image's name.
        repository: URL of the repository.
        commit: 40 hexadecimal digits, "" where an old manifest does not say (it is then held in ``interop.lock``).
        target: stage of the Dockerfile, "" for the last.
        args: build arguments.
    """

    kind: Literal["build", "image", "git", "command"]
    folder: Path | None = None
    image: str = ""
    repository: str = ""
    commit: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Implementation:
    """An implementation.

    Attributes:
        name: its name; with versions, ``NAME@VERSION``.
        source: where its image comes from.
        command: how it is started as a local process, () where it cannot be; the test's name and role are appended.
        folder: where its command is run: the folder of ``interop.toml`` (absolute).
        setup: a command that is run once before the first cell, such as ``npm ci``; () for none.
        entry: the program in its image.
        roles: parts that it can take.
        provides: patterns (``fnmatch``) of tests that it takes part in.
        skip: pattern of tests -> why it does not take part.
        env: variables.
        resources: what it takes, in place of the tests' where it says so; None for theirs.
        version: "" where it has only one.
        version_cmd: prints its version, () for none.
        contract: how it is spoken to: a name of ``contracts.known``.
        ready: pattern of the line that it is ready with, where its contract knows no events.
        is_local: whether it is the one that is developed here; the seed's ``test`` has it as the worker.
    """

    name: str
    source: Source
    command: tuple[str, ...] = ()
    folder: Path | None = None
    setup: tuple[str, ...] = ()
    entry: tuple[str, ...] = ("th-test",)
    roles: tuple[str, ...] = (WORKER, DRIVER)
    provides: tuple[str, ...] = ("*",)
    skip: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    version: str = ""
    version_cmd: tuple[str, ...] = ()
    contract: str = DEFAULT
    is_local: bool = False
    ready: str = ""


@dataclass(frozen=True)
class Matrix:
    """What ``interop.toml`` declares.

    Attributes:
        name: its name.
        file: ``interop.toml``, or ``_implementations.json`` where there is none; absolute.
        tests: folder of its tests, absolute.
        implementations: all of them, in the file's order.
        workers: names of those that are workers; () for all that can be.
        drivers: likewise.
        seed: what ``INTEROP_SEED`` of each cell is made from.
        more_tests: further folders of tests, absolute.
        tests_from: a folder of a repository that tests are taken from by ``interop.tests-update``, None for none; its
            commit is "" for the newest.
    """

    name: str
    file: Path
    tests: Path
    implementations: tuple[Implementation, ...]
    workers: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    seed: int = 0
    more_tests: tuple[Path, ...] = ()
    tests_from: Source | None = None

    @property
    def folder(self) -> Path:
        """The folder of the file: ``expect.toml`` and ``interop.lock`` are in it, and paths are relative to it."""
        return self.file.parent

    @property
    def tests_folders(self) -> tuple[Path, ...]:
        """All folders of tests."""
        return (self.tests, *self.more_tests)

    def implementation(self, name: str) -> Implementation:
        """Return the implementation of a name. Raises KeyError."""
        for implementation in self.implementations:
            if implementation.name == name:
                return implementation
        raise KeyError(name)


LOCAL = "local"  # the implementation whose Dockerfile is in the current folder, where no interop.toml names one
_TOP = ("name", "tests", "tests-from", "workers", "drivers", "seed", "implementations")
_SOURCES = ("build", "image", "git")
_KEYS = (
    *_SOURCES,
    *("commit", "folder", "target", "args", "command", "setup", "entry", "roles", "provides", "skip", "tests", "env"),
    *("resources", "version_cmd", "version-cmd", "versions", "contract", "ready", "local"),
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[A-Za-z0-9_.+-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_IMAGE = re.compile(r"(?:[^\s@]+@)?sha256:[0-9a-f]{64}")
_SCHEMES = ("https", "http", "ssh", "git", "file")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:[^/\s].*", re.ASCII)


def read_matrix(file: Path, data: Mapping[str, Any]) -> Matrix:
    """Return what ``interop.toml`` declares.

    Args:
        file: absolute path of it; what it names is relative to its folder.
        data: what it holds.

    Raises:
        ConfigError: with everything that is wrong in it, each with the key, what was found and what was needed.
    """
    problems: list[str] = []
    table = Table(str(file), data, problems, _TOP)
    name = table.text("name", file.parent.name)
    if not _NAME.fullmatch(name):
        table.wrong(f"name is {shown(name)}; a letter or digit, then letters, digits and any of _.- were needed")
    implementations: list[Implementation] = []
    versions: dict[str, tuple[str, ...]] = {}
    for key, value in table.table("implementations").items():
        where = f"{file}: [implementations.{key}]"
        if not isinstance(value, Mapping):
            problems.append(f"{where} is {shown(value)}, a table was needed")
            continue
        several = _Reader(where, value, problems, file.parent).read(key)
        implementations += several
        versions[key] = tuple(each.name for each in several)
    if data.get("implementations") in (None, {}):
        table.wrong("implementations is empty; at least one table [implementations.NAME] was needed")
    problems += _alike([each.name for each in implementations], str(file))
    tests = [_within(file.parent, folder) for folder in table.texts("tests", ("tests",))] or [file.parent]
    chosen = {key: _chosen(table, key, role, implementations, versions) for key, role in _CHOICES.items()}
    matrix = Matrix(
        name,
        file,
        tests[0],
        tuple(implementations),
        chosen["workers"],
        chosen["drivers"],
        table.count("seed"),
        tuple(tests[1:]),
        _tests_from(table),
    )
    if problems:
        raise ConfigError.of(problems)
    return matrix


def read_manifest(file: Path, data: Mapping[str, Any], tests: Path, local: Path | None = None) -> Matrix:
    """Return the matrix of an ``_implementations.json``, as the older tool took it.

    Its worker is the implementation of the current folder, its drivers are that one and all others.

    Args:
        file: absolute path of the manifest.
        data: what it holds: name -> ``{"repo": URL}``.
        tests: folder of the tests.
        local: the folder whose Dockerfile is the implementation that is developed here; None without one.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    problems: list[str] = []
    found = []
    if local is not None:
        found.append(Implementation(LOCAL, Source("build", local), folder=local, is_local=True))
    for name, value in data.items():
        table = Table(f"{file}: {name}", value if isinstance(value, Mapping) else {}, problems)
        if not _NAME.fullmatch(name):
            table.wrong("is no name; a letter or digit, then letters, digits and any of _.- were needed")
        elif local is not None and name.casefold() == LOCAL:
            table.wrong("is the name of the current folder's implementation; another name was needed")
        if not isinstance(value, Mapping) or not isinstance(table.data.get("repo"), str) or not table.text("repo"):
            table.wrong(f"is {shown(value)}, an object with the URL of its repository was needed: {{'repo': URL}}")
            continue
        url, commit = table.text("repo"), table.text("commit")
        _check_git(table, "repo", url, commit, needs_commit=False)
        source = Source("git", Path(table.text("folder", ".")), repository=url, commit=commit)
        found.append(Implementation(name, source, folder=file.parent))
    if not data:
        problems.append(f"{file}: has no implementation; {{NAME: {{'repo': URL}}}} was needed")
    problems += _alike([each.name for each in found], str(file))
    if problems:
        raise ConfigError.of(problems)
    return Matrix(file.parent.name, file, tests, tuple(found), (LOCAL,) if local is not None else ())


_CHOICES = {"workers": WORKER, "drivers": DRIVER}


def _chosen(
    table: Table, key: str, role: str, implementations: list[Implementation], versions: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the names that a list of the file stands for; the name of one with versions stands for all of them."""
    roles = {each.name: each.roles for each in implementations}
    chosen: list[str] = []
    for name in table.texts(key):
        several = versions.get(name, (name,) if name in roles else ())
        if not several:
            known = [*versions, *roles]
            table.wrong(f"{key} has {name!r}, which is no implementation{nearest(name, known)}")
        table.problems += [
            f"{table.where}: {key} has {each!r}, whose roles are {', '.join(roles[each])}; {role} was needed among them"
            for each in several
            if role not in roles[each]
        ]
        chosen += several
    return tuple(dict.fromkeys(chosen))


def _tests_from(table: Table) -> Source | None:
    if not table.has("tests-from"):
        return None
    inner = Table(
        f"{table.where}: [tests-from]", table.table("tests-from"), table.problems, ("git", "commit", "folder")
    )
    url, commit = inner.text("git"), inner.text("commit")
    _check_git(inner, "git", url, commit, needs_commit=False)
    return Source("git", _inner(inner), repository=url, commit=commit)


def _inner(table: Table) -> Path:
    """Return a folder within a repository."""
    folder = Path(table.text("folder", "."))
    if folder.is_absolute() or ".." in folder.parts:
        table.wrong(f"folder is {shown(str(folder))}, a folder within the repository was needed")
    return folder


def _within(folder: Path, path: str) -> Path:
    return Path(os.path.normpath(folder / path))


def _alike(names: list[str], where: str) -> list[str]:
    first: dict[str, str] = {}
    problems = []
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            problems.append(f"{where}: implementations {other!r} and {name!r} differ in case only, which paths may not")
    return problems


def _check_git(table: Table, key: str, url: str, commit: str, *, needs_commit: bool = True) -> None:
    scheme = urlsplit(url).scheme if "://" in url else ""
    is_wrong = (
        not url or url.startswith("-") or "::" in url or re.search(r"\s", url) or (scheme and scheme not in _SCHEMES)
    )
    if is_wrong or not (scheme or _SCP.fullmatch(url) or "/" in url or url == "."):
        table.wrong(f"{key} is {shown(url)}, a path or a URL ({', '.join(_SCHEMES)}) of a repository was needed")
    if (commit or needs_commit) and not _COMMIT.fullmatch(commit):
        seen = f"is {shown(commit)}" if commit else "is missing"
        table.wrong(f"commit {seen}; the 40 hexadecimal digits of a commit were needed")


class _Reader(Table):
    """The table of one implementation."""

    def __init__(self, where: str, data: Mapping[str, Any], problems: list[str], folder: Path) -> None:
        super().__init__(where, data, problems, _KEYS)
        self._folder = folder

    def read(self, name: str) -> list[Implementation]:
        """Return it; with versions, one for each."""
        if not _NAME.fullmatch(name):
            self.wrong("is no name; a letter or digit, then letters, digits and any of _.- were needed")
        source = self._source()
        cwd = source.folder if source.kind in ("build", "command") and source.folder else self._folder
        roles = self.texts("roles", (WORKER, DRIVER))
        if not roles:
            self.unlike("roles", "at least one role")
        contract = self._contract()
        implementation = Implementation(
            name,
            source,
            command=self.words("command"),
            folder=cwd,
            setup=self.words("setup"),
            entry=self.words("entry", CONTRACTS[contract].entry),
            roles=roles,
            provides=self.texts("provides", ("*",)),
            skip={**self.reasons("skip"), **self._skipped_tests()},
            env=self.values("env"),
            resources=self.resources(),
            version_cmd=self.words("version_cmd") or self.words("version-cmd"),
            contract=contract,
            is_local=self.flag("local"),
            ready=self._ready(contract, roles),
        )
        if not implementation.entry:
            self.unlike("entry", "at least one word")
        return self._versions(implementation)

    def _versions(self, implementation: Implementation) -> list[Implementation]:
        versions = self.texts("versions")
        for version in versions:
            if not _VERSION.fullmatch(version):
                self.wrong(f"versions has {shown(version)}; letters, digits and any of _.+- were needed")
        if not versions:
            return [implementation]
        told = [{"INTEROP_VERSION": version} for version in versions]
        if len(versions) == 1:
            return [_versioned(implementation, implementation.name, versions[0], told[0])]
        return [
            _versioned(implementation, f"{implementation.name}@{version}", version, variables)
            for version, variables in zip(versions, told, strict=True)
        ]

    def _skipped_tests(self) -> dict[str, str]:
        if not self.has("tests"):
            return {}
        return Table(f"{self.where}.tests", self.table("tests"), self.problems, ("skip",)).reasons("skip")

    def _contract(self) -> str:
        contract = self.text("contract", DEFAULT)
        if contract in CONTRACTS:
            return contract
        known = tuple(CONTRACTS)
        self.wrong(f"contract is {shown(contract)}, one of {', '.join(known)} was needed{nearest(contract, known)}")
        return DEFAULT

    def _ready(self, contract: str, roles: Sequence[str]) -> str:
        ready, is_silent = self.text("ready", ""), CONTRACTS[contract].is_silent
        if ready and not is_silent:
            self.wrong(f"ready is not for the contract {contract}, whose roles say by an event that they are ready")
        elif is_silent and not ready and set(roles) - {DRIVER}:
            self.wrong(
                f"ready is missing: of the contract {contract}, who is a worker is ready when it writes a line that "
                "this pattern is found in"
            )
        try:
            re.compile(ready)
        except re.error as error:
            self.wrong(f"ready is {shown(ready)}, which is no regular expression: {error}")
        return ready

    def _source(self) -> Source:
        kinds = [kind for kind in _SOURCES if self.has(kind)]
        if len(kinds) > 1:
            self.wrong(f"has {' and '.join(kinds)}; one of {', '.join(_SOURCES)} was needed, or none")
        kind = kinds[0] if kinds else "command"
        self.problems += [
            f"{self.where}: {key} goes with git{' or build' if key != 'commit' else ''}, and this has {kind}"
            for key in ("commit", "folder", "target", "args")
            if self.has(key) and kind != "git" and not (key in ("target", "args") and kind == "build")
        ]
        if kind == "build":
            return self._build()
        if kind == "image":
            image = self.text("image")
            if not _IMAGE.fullmatch(image):
                self.wrong(f"image is {shown(image)}, NAME@sha256:DIGEST or an image id (sha256:...) was needed")
            return Source("image", image=image)
        if kind == "git":
            return self._git()
        if not self.words("command"):
            self.wrong(f"has none of {', '.join(_SOURCES)} and command; one was needed")
        return Source("command", self._folder)

    def _build(self) -> Source:
        value = self.data["build"]
        if isinstance(value, str):
            inner: Table = self
            path = value
        else:
            if not isinstance(value, Mapping):
                self.unlike("build", "a folder, or a table {folder, target, args}")
                return Source("build", self._folder)
            inner = Table(f"{self.where}.build", self.table("build"), self.problems, ("folder", "target", "args"))
            path = inner.text("folder", ".")
        folder = _within(self._folder, path)
        return Source("build", folder, target=inner.text("target"), args=inner.values("args"))

    def _git(self) -> Source:
        value = self.data["git"]
        inner: Table = self
        url = value if isinstance(value, str) else ""
        if isinstance(value, Mapping):
            keys = ("url", "commit", "folder", "target", "args")
            inner = Table(f"{self.where}.git", value, self.problems, keys)
            url = inner.text("url")
        _check_git(inner, "git", url, inner.text("commit"))
        return Source(
            "git",
            _inner(inner),
            repository=url,
            commit=inner.text("commit"),
            target=inner.text("target"),
            args=inner.values("args"),
        )


def _versioned(implementation: Implementation, name: str, version: str, variables: Mapping[str, str]) -> Implementation:
    source = replace(implementation.source, args={**implementation.source.args, **variables})
    return replace(implementation, name=name, version=version, source=source, env={**implementation.env, **variables})
