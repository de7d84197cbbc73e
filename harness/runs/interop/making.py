"""What the implementations of a matrix are made of: images on an engine of containers, else folders and commands."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.artifacts import last_lines, write_atomically
from harness.engine.compose.launch import Launch
from harness.engine.compose.plan import NAME as COMPOSE
from harness.engine.identity import Identity
from harness.engine.layout import dry_layout
from harness.errors import BrokenStack, HarnessError
from harness.folders import digest_of
from harness.images import image_id
from harness.keeper.messages import Acquire
from harness.matrix.verdicts import Verdict
from harness.runs.images import images_of
from harness.runs.interop.locking import held_to_lock
from harness.runs.interop.sources import STAMP, build_tree, content_of
from harness.runs.known import checkout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.implementations import Implementation, Matrix
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment
    from harness.runs.interop.sources import Found

BUILDS = "matrix"
"""Name of the stack whose services are the images that are built for a matrix."""
SETUP_BUDGET = 900.0
LAST = 3  # lines of a setup that failed, in the verdict of each cell


@dataclass(frozen=True)
class Made:
    """What cells are made of.

    Attributes:
        images: name of an implementation, or of an image that a test names -> id of the image; of an implementation
            that is a local process, ``tree:`` and the fingerprint of its folder.
        problems: name -> why there is none.
    """

    images: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict)

    def problem_of(self, cell: Cell, case: Case) -> Verdict | None:
        """Return the verdict of a cell one of whose implementations could not be made, None where all were."""
        for role in case.roles:
            name = role.image or cell.implementation_of(role.name)
            if name in self.problems:
                who = cell.implementation_of(role.name)
                return Verdict("broken", "implementation", role.name, who, f"{name}: {self.problems[name]}")
        return None


def make(
    matrix: Matrix,
    cases: Sequence[Case],
    environment: Environment,
    choice: Choice,
    say: Callable[[str], None],
    found: Found | None = None,
) -> Made:
    """Make what every implementation runs from, side by side; what cannot be made is a problem of its own cells.

    Args:
        matrix: the implementations.
        cases: the tests.
        environment: where it is made.
        choice: the engine, and what was asked for.
        say: takes lines for the user.
        found: where they come from, None to look.

    Raises:
        BrokenStack: the disk is full, or the keeper is gone.
    """
    found = found or held_to_lock(matrix, cases, choice, say)
    if choice.engine.name == COMPOSE:
        return _Images(found, cases, environment, choice, say).made()
    return _local(found, cases, environment, choice, say)


# -- local processes -------------------------------------------------------------------------------------------------


def _local(
    found: Found, cases: Sequence[Case], environment: Environment, choice: Choice, say: Callable[[str], None]
) -> Made:
    images, problems = {}, dict(found.problems)
    for each in found.matrix.implementations:
        if each.name in problems:
            say(f"{each.name}: {problems[each.name]}")
            continue
        try:
            _prepare(each, found.matrix, environment.folder, choice.settings.environ, say)
            images[each.name] = found.stands[each.name]
        except HarnessError as error:
            problems[each.name] = error.summary
            say(f"{each.name}: {error.summary}")
    for image in sorted({role.image for case in cases for role in case.roles if role.image}):
        problems[image] = f"engine {choice.engine.name} runs no images"
    return Made(images, problems)


def _prepare(
    each: Implementation, matrix: Matrix, run: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Set up an implementation, when its folder is not what it was. Raises BrokenStack."""
    if not each.command:
        raise BrokenStack("it has no command, with which it could run as a local process")
    if not each.setup:
        return
    folder = each.folder or matrix.folder
    # The matrix's own folder has what runs leave, too.
    sources = partial(_sources, each, folder, environ, is_whole=folder != matrix.folder)
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == sources():
        return
    _set_up(each, folder, run / f"setup-{each.name}.log", environ, say)
    write_atomically(stamp, sources())  # as it is now: what was made may be in it


def _set_up(
    each: Implementation, folder: Path, log: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Run what has to be run once. Raises BrokenStack."""
    say(f"{each.name}: {' '.join(each.setup)}")
    try:
        done = procs.run(each.setup, timeout=SETUP_BUDGET, cwd=folder, env=environ)
    except OSError as error:
        raise BrokenStack(f"its setup {each.setup[0]!r} cannot be executed: {error.strerror}") from error
    with suppress(OSError):
        log.write_text(f"{done.stdout}{done.stderr}", encoding="utf-8")
    if done.code != 0:
        said = " / ".join(line.strip() for line in last_lines(log, LAST))
        ended = f"its setup {' '.join(each.setup)!r}: {done.ending(SETUP_BUDGET)}"
        raise BrokenStack(f"{ended}{': ' if said else ''}{said} ({log})")


def _sources(each: Implementation, folder: Path, environ: Mapping[str, str], *, is_whole: bool) -> str:
    """Return what stands for the setup, this very folder (a clone is another one), its lists of packages and its files.

    A setup may compile them: what an earlier one has made of other files must not be run.
    """
    names = ("package.json", "package-lock.json", "requirements.txt", "pyproject.toml", "go.mod", "go.sum")
    parts = [
        str(each.setup),
        str(folder.stat().st_ino),
        *(f"{name} {digest_of(str(folder / name))}" for name in names if (folder / name).is_file()),
        *([content_of(folder, environ)] if is_whole else []),
    ]
    return "\n".join(parts)


# -- images ----------------------------------------------------------------------------------------------------------


class _Images:
    """The images of a matrix on an engine of containers: each is a service of a stack that is only built."""

    def __init__(
        self,
        found: Found,
        cases: Sequence[Case],
        environment: Environment,
        choice: Choice,
        say: Callable[[str], None],
    ) -> None:
        self._matrix, self._environment, self._choice, self._say = found.matrix, environment, choice, say
        self._named = sorted({role.image for case in cases for role in case.roles if role.image})
        self._images: dict[str, str] = {}
        self._problems = dict(found.problems)

    def made(self) -> Made:
        """Build and find all of them."""
        for name, problem in self._problems.items():
            self._say(f"{name}: {problem}")
        builds = {
            each.name: each
            for each in self._matrix.implementations
            if each.source.kind in ("build", "git") and each.name not in self._problems
        }
        if builds:
            self._build(builds)
        for each in self._matrix.implementations:
            if each.source.kind == "image":
                self._find(each.name, each.source.image)
            elif each.source.kind == "command":
                self._problems[each.name] = "it is a command of this machine, and has no image"
        for image in self._named:
            self._find(image, image)
        return Made(self._images, self._problems)

    def _find(self, name: str, image: str) -> None:
        found = image_id(self._environment.client, image)
        if found is None:
            self._problems[name] = f"image {image!r} is not on the engine"
        else:
            self._images[name] = found

    def _build(self, builds: Mapping[str, Implementation]) -> None:
        settings = self._choice.settings
        tree, services = build_tree(builds, self._environment.folder / f"{BUILDS}.yaml", settings.environ)
        names = dict(zip(services, builds.values(), strict=True))
        identity = Identity(
            checkout_of(settings),
            self._environment.env,
            self._environment.link.facts["labels"],
            self._environment.link.facts["key"],
        )
        stack = tree.root
        layout = dry_layout(tree, settings.environ, {}, COMPOSE, local=self._choice.local)
        images = images_of(tree, stack, settings.environ, self._environment.client)
        plan = self._choice.engine.plan(tree, stack.name, layout, identity, images)
        self._environment.link.ask(Acquire(stack.name, []))
        containers = plan.containers
        assert containers is not None  # every one of its services is a container

        def build(services: Sequence[str]) -> str:
            """Build images side by side; return why one of them could not be, "" where all could."""
            try:
                Launch(self._environment, replace(plan, containers=replace(containers, build=tuple(services)))).build(
                    self._say
                )
            except BrokenStack as error:
                return error.summary
            return ""

        # A stack has one build at a time. Which of several has failed is learnt by building each by itself.
        problems: dict[str, str] = {}
        if build(list(names)):
            problems = {service: build([service]) for service in names}
        for service, each in names.items():
            image = image_id(self._environment.client, identity.image(stack.name, service))
            if image and not problems.get(service):
                self._images[each.name] = image
            else:
                self._problems[each.name] = problems.get(service) or "its image is gone"
