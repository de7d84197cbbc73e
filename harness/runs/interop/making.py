"""What the implementations of a matrix are made of: images on an engine of containers, else folders and commands."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import procs
from harness.artifacts import write_atomically
from harness.engine.compose.launch import Launch
from harness.engine.compose.plan import NAME as COMPOSE
from harness.engine.identity import Identity
from harness.engine.layout import dry_layout
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.folders import digest_of
from harness.images import image_id
from harness.images.contexts import look
from harness.keeper.messages import Acquire
from harness.matrix.cells import LOCAL_TREE
from harness.matrix.verdicts import Verdict
from harness.runs.images import images_of
from harness.runs.known import checkout_of
from harness.stack import read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell
    from harness.matrix.implementations import Implementation, Matrix
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment

BUILDS = "matrix"
"""Name of the stack whose services are the images that are built for a matrix."""
SETUP_BUDGET = 900.0
STAMP = ".harness-setup"


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
    matrix: Matrix, cases: Sequence[Case], environment: Environment, choice: Choice, say: Callable[[str], None]
) -> Made:
    """Make what every implementation runs from, side by side; what cannot be made is a problem of its own cells.

    Raises:
        BrokenStack: the disk is full, or the keeper is gone.
    """
    if choice.engine.name == COMPOSE:
        return _Images(matrix, cases, environment, choice, say).made()
    return _local(matrix, cases, environment, choice, say)


# -- local processes -------------------------------------------------------------------------------------------------


def _local(
    matrix: Matrix, cases: Sequence[Case], environment: Environment, choice: Choice, say: Callable[[str], None]
) -> Made:
    environ = choice.settings.environ
    images, problems = {}, {}
    for each in matrix.implementations:
        try:
            images[each.name] = _prepared(each, matrix, environment.folder, environ, say)
        except HarnessError as error:
            problems[each.name] = error.summary
            say(f"{each.name}: {error.summary}")
    for image in sorted({role.image for case in cases for role in case.roles if role.image}):
        problems[image] = f"engine {choice.engine.name} runs no images"
    return Made(images, problems)


def _prepared(
    each: Implementation, matrix: Matrix, run: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> str:
    """Set up an implementation, when its folder is not what it was; return what stands for what it runs from."""
    if not each.command:
        raise BrokenStack("it has no command, with which it could run as a local process")
    folder = each.folder or matrix.folder
    held = look(folder, "", environ, besides=(STAMP,)) if folder != matrix.folder else None
    digest = held.digest[:16] if held else hashlib.sha256(str(each.command).encode()).hexdigest()[:16]
    if each.setup:
        _set_up(each, folder, run / f"setup-{each.name}.log", environ, say)
    return f"{LOCAL_TREE}{digest}"


def _set_up(
    each: Implementation, folder: Path, log: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Run what has to be run once; its stamp tells for which files it was. Raises BrokenStack."""
    stamp = folder / STAMP
    wanted = _sources(each, folder)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    say(f"{each.name}: {' '.join(each.setup)}")
    try:
        done = procs.run(each.setup, timeout=SETUP_BUDGET, cwd=folder, env=environ)
    except OSError as error:
        raise BrokenStack(f"its setup {each.setup[0]!r} cannot be executed: {error.strerror}") from error
    with suppress(OSError):
        log.write_text(f"{done.stdout}{done.stderr}", encoding="utf-8")
    if done.code != 0:
        raise BrokenStack(f"its setup {' '.join(each.setup)!r}: {done.ending(SETUP_BUDGET)} ({log})")
    write_atomically(stamp, wanted)


def _sources(each: Implementation, folder: Path) -> str:
    """Return what stands for the setup, this very folder (a clone is another one) and its lists of packages."""
    names = ("package.json", "package-lock.json", "requirements.txt", "pyproject.toml", "go.mod", "go.sum")
    parts = [
        str(each.setup),
        str(folder.stat().st_ino),
        *(f"{name} {digest_of(str(folder / name))}" for name in names if (folder / name).is_file()),
    ]
    return "\n".join(parts)


# -- images ----------------------------------------------------------------------------------------------------------


class _Images:
    """The images of a matrix on an engine of containers: each is a service of a stack that is only built."""

    def __init__(
        self,
        matrix: Matrix,
        cases: Sequence[Case],
        environment: Environment,
        choice: Choice,
        say: Callable[[str], None],
    ) -> None:
        self._matrix, self._environment, self._choice, self._say = matrix, environment, choice, say
        self._named = sorted({role.image for case in cases for role in case.roles if role.image})
        self._images: dict[str, str] = {}
        self._problems: dict[str, str] = {}

    def made(self) -> Made:
        """Build and find all of them."""
        builds = {each.name: each for each in self._matrix.implementations if each.source.kind in ("build", "git")}
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
        names = {f"i{number}": each for number, each in enumerate(builds.values())}
        services = {service: {"build": self._section(each)} for service, each in names.items()}
        file = self._environment.folder / f"{BUILDS}.yaml"
        write_atomically(file, yaml.safe_dump({"services": services}))
        settings = self._choice.settings
        tree = read_tree((file,), settings.environ, folder=file.parent)
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

    def _section(self, each: Implementation) -> dict[str, Any]:
        source = each.source
        if source.folder is None:
            raise ConfigError(f"Implementation {each.name}: nothing says what its image is built from")
        section: dict[str, Any] = {"context": str(source.folder)}
        if source.target:
            section["target"] = source.target
        args = {**source.args, **({"INTEROP_VERSION": each.version} if each.version else {})}
        return {**section, "args": args} if args else section
