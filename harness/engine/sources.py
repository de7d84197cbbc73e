"""The sources of a service: the files on this machine that decide what it does, so that old code is told from new.

They are the build context of an image that is built here, what is mounted, what a local process is started from inside
the checkout, and what ``x-harness.sources`` names. What a source holds is looked at in ``snapshots``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from harness.artifacts import is_missing
from harness.engine.imports import files_of_command
from harness.engine.plan import ProcessPlan
from harness.folders import ignore_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.engine.plan import Recipe, ServicePlan, StackPlan
    from harness.stack import Mount, Service, Stack, Tree

MADE: Final = "made"
STARTED: Final = "started"
# What tools keep beside sources, and nothing runs from: it changes without anybody changing code.
# fmt: off
_NO_FOLDERS = frozenset([
    "__pycache__", "node_modules", ".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".hypothesis", ".idea", ".vscode", ".cache", ".eggs",
])
_NO_FILES = ("*.pyc", "*~", ".*.sw?", ".#*", "#*#", "4913", ".coverage", ".coverage.*", ".DS_Store")
_TESTS = ("test_*.py", "*_test.py", "conftest.py", "*.test.[jt]s", "*.spec.[jt]s", "*_test.go")
# In a folder that a service may write to, only what people write: its data change all the time.
WRITTEN_BY_PEOPLE = (
    ".c", ".cc", ".cfg", ".cjs", ".conf", ".cpp", ".cs", ".css", ".erb", ".ex", ".exs", ".fbs", ".go", ".graphql", ".h",
    ".hpp", ".htm", ".html", ".ini", ".j2", ".java", ".jinja", ".js", ".jsx", ".kt", ".lua", ".mjs", ".php", ".pl",
    ".proto", ".py", ".pyi", ".rb", ".rs", ".scala", ".scss", ".sh", ".sql", ".svelte", ".tmpl", ".toml", ".ts", ".tsx",
    ".vue", ".yaml", ".yml",
)
# fmt: on
_NOT_NAMED, _NEVER = (re.compile("|".join(map(translate, patterns))) for patterns in ((*_NO_FILES, *_TESTS), _NO_FILES))


@dataclass(frozen=True)
class Source:
    """A file, or a folder with what is below it.

    Attributes:
        path: which.
        read: when the service takes it: as it is ``made`` (an image is built, a copy written), or as it is ``started``.
        suffixes: those of the files of a folder that count, () for all.
        ignored: of a folder, the text of each ``.dockerignore`` that it may be read by; what all leave out is no part.
        besides: files and folders that are no part of it.
        named: whether its owner has named it, so that tests in it count too.
    """

    path: Path
    read: Literal["made", "started"] = "started"
    suffixes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    besides: tuple[Path, ...] = ()
    named: bool = False

    def may_hold(self, folder: Path) -> bool:
        """Return whether a folder below it may be a part of it, whatever ``ignored`` says."""
        return folder.name not in _NO_FOLDERS and folder not in self.besides

    def counts(self, path: Path) -> bool:
        """Return whether a file below it is a part of it, whatever ``ignored`` says."""
        if (_NEVER if self.named else _NOT_NAMED).match(path.name):
            return False
        return (not self.suffixes or path.suffix in self.suffixes) and path not in self.besides


@dataclass(frozen=True)
class Checkout:
    """A project's folder as sources see it.

    Attributes:
        root: the folder.
        besides: what in it is no service's: run folders, suites of tests.
    """

    root: Path
    besides: tuple[Path, ...] = ()

    def holds(self, path: Path) -> bool:
        """Return whether a path is in it."""
        return path.is_relative_to(self.root)


@dataclass
class _Sources:
    """The sources of one service while they are collected; what is named first stays."""

    found: dict[Path, Source] = field(default_factory=dict)

    def add(self, sources: Iterable[Source]) -> None:
        for source in sources:
            self.found.setdefault(source.path, source)


def sources_of(stack: Stack, plan: StackPlan, checkout: Checkout) -> dict[str, tuple[Source, ...]]:
    """Return service -> its sources, of those services of a stack that are started by us.

    Args:
        stack: as declared.
        plan: the same on an engine.
        checkout: the project's folder.
    """
    recipes = plan.containers.recipes if plan.containers else {}
    built = plan.containers.build if plan.containers else ()
    return {
        planned.service: _of_service(stack, planned, recipes if planned.service in built else {}, checkout)
        for planned in plan.services
        if planned.ours
    }


def _of_service(
    stack: Stack, planned: ServicePlan, recipes: Mapping[str, Recipe], checkout: Checkout
) -> tuple[Source, ...]:
    service = stack.service(planned.service)
    assert service is not None  # a plan is of declared services
    collected = _Sources()
    collected.add(
        Source((stack.folder / path).resolve(), MADE if recipes else STARTED, named=True)
        for path in service.settings.sources
    )
    collected.add(_of_builds(service, recipes, checkout))
    collected.add(_of_mounts(stack, service, planned, checkout))
    if isinstance(planned, ProcessPlan):
        copied = {Path(copy.source) for copy in planned.copies}
        collected.add(
            Source(path, suffixes=WRITTEN_BY_PEOPLE if path.is_dir() else (), besides=checkout.besides)
            for path in files_of_command(planned.argv, planned.cwd, planned.env)
            if checkout.holds(path) and path != checkout.root and path not in copied
        )
    return tuple(collected.found.values())


def _of_builds(service: Service, recipes: Mapping[str, Recipe], checkout: Checkout) -> Iterator[Source]:
    """Give what the image of a service is built from, and those of this file that it is built from."""
    todo, seen = [service.name], set()
    while todo:
        name = todo.pop()
        recipe = recipes.get(name)
        if recipe is None or name in seen:
            continue
        seen.add(name)
        todo += sorted(recipe.bases)
        dockerfile = Path(recipe.source) if recipe.source and not recipe.is_inline else None
        if dockerfile and dockerfile.is_file():
            yield Source(dockerfile, MADE)
        context = Path(str(recipe.section.get("context") or ""))
        if context.is_absolute() and context.is_dir():
            yield Source(context, MADE, ignored=_ignored(recipe, context, dockerfile), besides=checkout.besides)
        for other in (recipe.section.get("additional_contexts") or {}).values():
            if str(other).startswith("/") and Path(other).is_dir():
                yield Source(Path(other), MADE, besides=checkout.besides)


def _ignored(recipe: Recipe, context: Path, dockerfile: Path | None) -> tuple[str, ...]:
    """Return the lists by which builders may go: the folder's, and the Dockerfile's own where there is one."""
    texts = (ignore_list(context), *(() if recipe.ignored is None else (recipe.ignored,)))
    if dockerfile is None or not dockerfile.is_relative_to(context):
        return texts
    return tuple(f"{text}\n!{dockerfile.relative_to(context)}" if text.strip() else text for text in texts)


def _of_mounts(stack: Stack, service: Service, planned: ServicePlan, checkout: Checkout) -> Iterator[Source]:
    data = {(stack.folder / path).resolve() for path in stack.settings.data}
    for mount in service.mounts:
        source = _of_mount(mount, planned, checkout)
        if source and source.path.resolve() not in data:
            yield source
    granted = (("secrets", stack.secrets), ("configs", stack.configs))
    for key, tables in granted:
        for grant in service.compose.get(key) or ():
            file = (tables.get(str(grant.get("source"))) or {}).get("file")
            if file and Path(file).is_file():
                yield Source(Path(file), MADE if planned.is_local else STARTED)


def _of_mount(mount: Mount, planned: ServicePlan, checkout: Checkout) -> Source | None:
    path = Path(mount.source)
    if mount.kind != "bind":
        return None
    if path.is_file():
        return Source(path, MADE if planned.is_local else STARTED)
    if not path.is_dir() or not checkout.holds(path):
        return None
    suffixes = () if mount.read_only else WRITTEN_BY_PEOPLE
    return Source(path, suffixes=suffixes, besides=checkout.besides)


def missing(tree: Tree) -> list[str]:
    """Say which of the files that stacks name as sources do not exist."""
    return [
        f"Service {service.name!r} ({stack.files[0]}): x-harness.sources names {path}, and "
        f"{stack.folder / path} does not exist"
        for stack in tree.stacks
        for service in stack.services
        for path in service.settings.sources
        if is_missing(str(stack.folder / path))
    ]
