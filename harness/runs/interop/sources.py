"""Where the implementations of a matrix come from, and what stands for each: nothing is built and nothing is run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.artifacts import write_atomically
from harness.config.subjects import Subject, without_secrets
from harness.daemon import connect, find_daemon
from harness.engine.compose.plan import NAME as COMPOSE
from harness.engine.compose.standing import MADE
from harness.errors import ConfigError, HarnessError
from harness.folders import digest_of
from harness.images import check_out, git_folder, image_id
from harness.images.contexts import look
from harness.images.git import head_of
from harness.matrix import lock
from harness.matrix.cells import LOCAL_TREE
from harness.matrix.lock import Locked
from harness.runs.looking import Looking
from harness.stack import read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.docker_sdk import APIClient
    from harness.matrix.cases import Case
    from harness.matrix.implementations import Implementation, Matrix
    from harness.runs.choice import Choice
    from harness.stack import Tree

STAMP = ".harness-setup"
# What is made where a program was run or set up, and is no part of it.
_MADE = f"**/__pycache__\n**/*.pyc\n**/node_modules\n**/.git\n**/{STAMP}\n"
_HASH = 16


@dataclass(frozen=True)
class Found:
    """Where implementations were found.

    Attributes:
        matrix: the same, each source of a commit with that commit, and a folder that has it.
        stands: name -> what stands for what it runs, the same wherever it is asked; without those of which that is not
            known before they are made.
        locked: as a lock would hold them.
        problems: name -> why it cannot be had.
    """

    matrix: Matrix
    stands: Mapping[str, str] = field(default_factory=dict)
    locked: tuple[Locked, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def held_by(matrix: Matrix) -> dict[str, Locked]:
    """Return what the lock of a matrix holds, nothing where there is none. Raises ConfigError: it cannot be read."""
    path = matrix.folder / lock.FILE
    try:
        return lock.parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def find(
    matrix: Matrix, cases: Sequence[Case], choice: Choice, held: Mapping[str, Locked], say: Callable[[str], None]
) -> Found:
    """Find what implementations are made from; commits are fetched, each once. What cannot be had is a problem.

    Args:
        matrix: as its file says.
        cases: its tests.
        choice: the engine, and what was asked for.
        held: commits that are taken where the file names none; of others the newest is.
        say: takes lines for the user.

    Raises:
        BrokenStack: there is no engine.
    """
    located, problems = [], {}
    sources = _Sources(matrix, choice, held, say)
    for each in matrix.implementations:
        try:
            located.append(sources.located(each))
        except HarnessError as error:
            problems[each.name] = error.summary
            located.append(each)
    matrix = replace(matrix, implementations=tuple(located))
    environ = choice.settings.environ
    trees = {
        each.name: tree_of(each, matrix, environ) for each in located if each.command and each.name not in problems
    }
    locked = {each.name: replace(_locked(each), tree=trees.get(each.name, "")) for each in located}
    if choice.engine.name != COMPOSE:
        stands = {name: f"{LOCAL_TREE}{tree}" for name, tree in trees.items()}
        return Found(matrix, stands, tuple(locked.values()), problems)
    named = {role.image for case in cases for role in case.roles if role.image}
    locked |= {image: Locked(image, "test", image=image) for image in named}
    choice.engine.check()
    with closing(connect(find_daemon(environ))) as client:
        for name, one in list(locked.items()):
            if one.image:
                locked[name] = replace(one, id=image_id(client, one.image) or "")
        builds = {each.name: each for each in located if each.source.kind in ("build", "git")}
        fingerprints = _fingerprints({name: builds[name] for name in builds.keys() - problems.keys()}, choice, client)
        locked |= {name: replace(locked[name], **values) for name, values in fingerprints.items()}
    stands = {name: one.id for name, one in locked.items() if one.id}
    stands |= {name: f"{MADE}{one.fingerprint}" for name, one in locked.items() if one.fingerprint}
    return Found(matrix, stands, tuple(locked.values()), problems)


def _locked(each: Implementation) -> Locked:
    source = each.source
    return Locked(each.name, source.kind, without_secrets(source.repository), source.commit, source.image)


# -- commits ---------------------------------------------------------------------------------------------------------


def url_of(repository: str, folder: Path) -> str:
    """Return the URL of a repository; a path begins at the folder of the matrix."""
    is_path = "://" not in repository and (repository == "." or "/" in repository) and "@" not in repository
    return str((folder / repository).resolve()) if is_path else repository


def checked(place: Path, inner: Path, subject: Subject) -> Path:
    """Return a folder within a commit that is checked out. Raises ConfigError: there is none, or it leads out."""
    found = place / inner
    if not found.resolve().is_relative_to(place.resolve()) or not found.is_dir():
        raise ConfigError(f"folder {str(inner)!r} does not exist in commit {subject.commit} of {subject.repository}")
    return found


class _Sources:
    def __init__(self, matrix: Matrix, choice: Choice, held: Mapping[str, Locked], say: Callable[[str], None]) -> None:
        self._matrix, self._choice, self._held, self._say = matrix, choice, held, say
        self._environ = choice.settings.environ
        self._folder = git_folder(self._environ, choice.settings.state)
        self._heads: dict[str, str] = {}

    def located(self, each: Implementation) -> Implementation:
        """Return an implementation whose source is in a folder. Raises ConfigError."""
        if each.source.kind != "git":
            return each
        url = url_of(each.source.repository, self._matrix.folder)
        subject = Subject(each.name, "git", f"{self._matrix.file}: [implementations.{each.name}]", git=url)
        subject = replace(subject, commit=each.source.commit or self._commit(each, subject))
        place = check_out(subject, self._folder, self._environ, lambda line: self._say(line.removeprefix("subject ")))
        inner = each.source.folder or Path()
        checked(place, inner, subject)
        source = replace(each.source, folder=place / inner, commit=subject.commit)
        work = self._work(each, place) if self._choice.engine.name != COMPOSE else place
        return replace(each, source=source, folder=work / inner)

    def _commit(self, each: Implementation, subject: Subject) -> str:
        held = self._held.get(each.name)
        if held and held.commit and held.repository == without_secrets(each.source.repository):
            return held.commit
        if subject.git not in self._heads:
            self._heads[subject.git] = commit = head_of(subject, self._environ)
            self._say(f"{each.name}: HEAD of {subject.repository} is {commit}; `harness interop.lock` holds it")
        return self._heads[subject.git]

    def _work(self, each: Implementation, place: Path) -> Path:
        """Return a copy of a commit, in which its processes may write. Raises ConfigError."""
        whose = hashlib.sha256(f"{self._matrix.file}\0{each.name}".encode()).hexdigest()[:_HASH]
        work = place.parent / f"work-{whose}-{place.name}"
        if not work.is_dir():
            try:
                with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as made:
                    shutil.copytree(place, Path(made, "files"), symlinks=True)
                    with suppress(FileExistsError):  # another run has just done it
                        Path(made, "files").rename(work)
            except (OSError, shutil.Error) as error:
                raise ConfigError(f"commit {place} cannot be copied to {work}: {error}") from error
        return work


# -- what stands for them --------------------------------------------------------------------------------------------


def tree_of(each: Implementation, matrix: Matrix, environ: Mapping[str, str]) -> str:
    """Return what stands for a local process: its commit, or the files of its folder; with its setup and command.

    What Git or a builder of images is to leave out of a folder is no part of it. Of a program that is in the matrix's
    own folder, the files that its command names are all of it.
    """
    folder = each.folder or matrix.folder
    content: Any
    if each.source.kind == "git":
        content = [each.source.commit, str(each.source.folder).partition(each.source.commit)[2]]
    elif folder == matrix.folder:
        words = dict.fromkeys((*each.command, *each.setup))
        content = [digest_of(str(folder / word)) for word in words if (folder / word).is_file()]
    else:
        content = content_of(folder, environ)
    return hashlib.sha256(json.dumps([content, each.command, each.setup]).encode()).hexdigest()[:_HASH]


def content_of(folder: Path, environ: Mapping[str, str]) -> str:
    """Return what stands for the files of a folder, but for those that Git or a builder of images is to leave out."""
    return look(folder, _left_out(folder), environ).digest


def _left_out(folder: Path) -> str:
    """Return what is no part of a folder, as a ``.dockerignore`` has it."""
    lines = [_MADE]
    for name in (".gitignore", ".dockerignore"):
        with suppress(OSError, UnicodeDecodeError):
            text = (folder / name).read_text(encoding="utf-8")
            lines += map(_anchored, text.splitlines()) if name == ".gitignore" else [text]
    return "\n".join(lines)


def _anchored(pattern: str) -> str:
    """Return a line of a ``.gitignore`` as one of a ``.dockerignore``: there, names are of the top folder alone."""
    pattern = pattern.strip()
    sign, pattern = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    if not pattern or pattern.startswith("#"):
        return ""
    is_anchored = "/" in pattern.rstrip("/")
    return sign + (pattern.strip("/") if is_anchored else f"**/{pattern.rstrip('/')}")


def build_tree(builds: Mapping[str, Implementation], file: Path, environ: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Write and read a stack whose services are the images that are built; return it, and their services in order.

    Whoever builds tells of services, so each has the name of its implementation, as far as services may.
    """
    names = dict(zip(_services(list(builds)), builds.values(), strict=True))
    write_atomically(
        file, yaml.safe_dump({"services": {name: {"build": _section(each)} for name, each in names.items()}})
    )
    return read_tree((file,), environ, folder=file.parent), list(names)


def _services(names: Sequence[str]) -> list[str]:
    """Return a name of a service for each name of an implementation, which is that where it can be."""
    # Some versions of Compose and of its builder take no dot in a name, and a key with x- in front for none.
    plain = [re.sub(r"(?<=\Ax)-|[^A-Za-z0-9_-]", "_", name) for name in names]
    return [
        service if service == name or plain.count(service) == 1 else f"{service}_{_short_hash(name)}"
        for name, service in zip(names, plain, strict=True)
    ]


def _short_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]


def _section(each: Implementation) -> dict[str, Any]:
    source = each.source
    if source.folder is None:
        raise ConfigError(f"Implementation {each.name}: nothing says what its image is built from")
    section: dict[str, Any] = {"context": str(source.folder)}
    if source.target:
        section["target"] = source.target
    args = {**source.args, **({"INTEROP_VERSION": each.version} if each.version else {})}
    return {**section, "args": args} if args else section


def _fingerprints(builds: Mapping[str, Implementation], choice: Choice, client: APIClient) -> dict[str, dict[str, Any]]:
    """Return name -> what its image is made of; of one of which that cannot be told, why."""
    if not builds:
        return {}
    try:
        return _made_of(builds, choice, client)
    except HarnessError as error:
        if len(builds) == 1:
            return {name: {"doubts": (error.summary,)} for name in builds}
    found: dict[str, dict[str, Any]] = {}
    for name, each in builds.items():  # which one it was is learnt by looking at each by itself
        found |= _fingerprints({name: each}, choice, client)
    return found


def _made_of(builds: Mapping[str, Implementation], choice: Choice, client: APIClient) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="harness-matrix-") as made:
        tree, services = build_tree(builds, Path(made, "matrix.yaml"), choice.settings.environ)
        _, standings = Looking(choice, tree, client).at(tree.root)
    found = {}
    for service, name in zip(services, builds, strict=True):
        made_of = standings[service].ingredients
        found[name] = {"fingerprint": made_of.fingerprint, "bases": made_of.bases, "doubts": made_of.doubts}
    return found
