"""Images of a stack on their way: built in order, each of its own, by a child of the keeper."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts
from harness.artifacts import last_lines, private_folder
from harness.clock import Deadline
from harness.daemon import ask, in_words
from harness.engine.compose import unit_tests
from harness.engine.compose.build_names import BuildNames
from harness.engine.compose.calls import FOLDER, argv_of, environment_of
from harness.engine.compose.ingredients import ingredients_of, undeclared_told
from harness.engine.compose.override import write
from harness.engine.compose.progress import followed
from harness.engine.compose.recipes import build_keys, in_turn, steps_of
from harness.engine.compose.standing import Made
from harness.errors import BrokenStack, HarnessError, relative
from harness.images import (
    BASE_ARGUMENT,
    INSTALL_BUILDX,
    Written,
    build_error,
    builder,
    builds_of,
    default_base,
    ensure_base,
    image_id,
    records,
    through_engine,
)
from harness.images.built import PREFIX
from harness.images.dockerfiles import references
from harness.images.fingerprint import Found
from harness.images.lock import FILE as LOCK
from harness.images.own import note as note_built
from harness.keeper.messages import Compose, StopCompose
from harness.ownership.locks import locked
from harness.stack import ANYWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.engine.driver import Place
    from harness.engine.plan import Recipe, StackPlan
    from harness.images import Builder, Builds
    from harness.images.fingerprint import Ingredients
    from harness.ownership.locks import Holder

BUILD_BUDGET = 1800.0
PROJECT = "harness-build"
_MOST_TESTS = 10
_BY_ENGINE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from harness.images.through_engine import main; sys.exit(main())"
)
_OWNED = frozenset(["com.docker.compose.project", "harness.run"])
_STEP = re.compile(rb"---> Running in ([0-9a-f]{12,64})\b")


class Building:
    """The builds of one stack.

    Args:
        place: where they happen.
        plan: what is to be started; what it needs is built.
        override: the file that Compose is given with the stack's own.
    """

    def __init__(self, place: Place, plan: StackPlan, override: Path) -> None:
        assert plan.containers is not None  # the caller looked
        self._place = place
        self._stack = plan.stack
        self._containers = plan.containers
        self._folder = place.folder / FOLDER
        self._override = override
        self._records = records.Records(str(place.settings.root.resolve()), place.settings.environ)
        self._made = Made(self._records, lambda: place.client, place.settings.root / LOCK, place.images)
        self._how: Builder | None = None
        # What is built gets a name that no other build has, and by its id then those that others use, too.
        assert place.daemon is not None  # there are containers
        self._names = BuildNames(lambda: place.client, place.daemon.host, place.settings.environ)
        self._bases: set[str] = set()  # images that were built before, for another stack
        self._stands: dict[str, str] = {}  # image -> the name that stands for it in this build, and is not moved
        self.found: dict[str, Found] = {}
        """Name -> image, of what was built or was there."""
        self.log = self._folder / f"{plan.stack}.build.log"

    def build(self, say: Callable[[str], None]) -> list[str]:
        """Build what is built and is not there; return the services whose images were there.

        Raises:
            BrokenStack: a build failed, with the last lines of its log.
        """
        settings = self._place.settings
        steps = steps_of(self._containers.recipes, self._containers.build)
        deadline = Deadline.after(settings.wait_timeout or BUILD_BUDGET)
        there: list[str] = []
        is_over = False
        try:
            for step in steps:
                ingredients = {name: self._ingredients(name) for name in step}
                there += (found := [name for name in step if self._is_there(name, ingredients[name])])
                if missing := [name for name in step if name not in found]:
                    there += self._build_missing(missing, ingredients, deadline, say)
            is_over = True
        finally:
            self._names.drop(self.found.keys() | self._bases, is_over=is_over)
        return there

    def _build_missing(
        self, names: list[str], ingredients: Mapping[str, Ingredients], deadline: Deadline, say: Callable[[str], None]
    ) -> list[str]:
        """Build images, alone at each of them; return those that somebody else has built meanwhile."""
        with contextlib.ExitStack() as held:
            for lock in sorted({lock for name in names for lock in self._locks(name, ingredients[name])}):
                self._hold(lock, names, deadline, say, held)
            found = [name for name in names if self._is_there(name, ingredients[name])]
            came = self._get_bases([name for name in names if name not in found])
            found += [name for name, made_of in came.items() if self._is_there(name, made_of)]
            if missing := [name for name in names if name not in found]:
                self._build_step(missing, deadline, say)
                for name in missing:
                    self._note(name, came.get(name, ingredients[name]))
        return found

    def _get_bases(self, names: Sequence[str]) -> dict[str, Ingredients]:
        """Have the engine have default bases; return what those images are made of whose base it has got now.

        Raises:
            BrokenStack: one is nowhere to be had.
        """
        came = {}
        for name in names:
            recipe = self._containers.recipes[name]
            default = default_base(recipe.written or "")
            if default is None or default in recipe.stands or BASE_ARGUMENT in (recipe.section.get("args") or {}):
                continue
            client = self._place.client
            if not default or image_id(client, default) is None:
                ensure_base(client, default, dockerfile=recipe.source)
                came[name] = self._ingredients(name)
        return came

    def _locks(self, name: str, made_of: Ingredients) -> list[str]:
        """Return what only one may build at a time: under its checkout's name, and of what it is made of."""
        image, daemon = self._containers.recipes[name].image, self._place.daemon
        assert daemon is not None  # there are containers
        names = [image, *([records.by_content(image, made_of.fingerprint)] if made_of.fingerprint else [])]
        return [hashlib.sha256(f"{daemon.host}\0{one}".encode()).hexdigest()[:16] for one in names]

    def _hold(
        self, lock: str, names: list[str], deadline: Deadline, say: Callable[[str], None], held: contextlib.ExitStack
    ) -> None:
        """Hold a lock, and say whom it waits for meanwhile. Raises ConfigError: it was not free in time."""
        settings = self._place.settings
        purpose = f"service {', '.join(names)} of {settings.root}"

        def waiting(holder: Holder) -> None:
            whose = f", for {holder.purpose}" if holder.purpose else ""
            say(f"an image of {', '.join(names)} is being built by {holder}{whose}; waiting for it")

        path = private_folder(settings.state) / f"image-{lock}.lock"
        held.enter_context(locked(path, deadline.remaining(), everywhere=True, purpose=purpose, waiting=waiting))

    def _build_step(self, names: list[str], deadline: Deadline, say: Callable[[str], None]) -> None:
        """Build images side by side. Raises BrokenStack."""
        how, daemon = self._how, self._place.daemon
        if how is None:
            assert daemon is not None  # as above
            how = self._how = builder(self._place.settings.environ, is_podman=ask(daemon).is_podman)
        by_engine = self._by_engine(names, how)
        ended = self._place.report.timed("build", self._stack)
        also = f"; {', '.join(by_engine)} by the BuildKit of the engine" if by_engine else ""
        say(f"building {', '.join(names)} ({how.reason}{also})")
        for name in names:
            for line in undeclared_told(name, self._containers.recipes[name]):
                say(line)
        self._hold_bases(names)
        files = (self._override, self._write_what_differs(names))
        self._names.begin(self._containers.recipes[name].image for name in names)
        try:
            with followed(self.log, say):
                together = [name for name in names if name not in by_engine]
                for turn in [together] if how.kind == "buildkit" else in_turn(self._containers.recipes, together):
                    if turn:
                        self._run(turn, self._compose(turn, files, how), deadline)
                for name in by_engine:
                    self._run([name], self._ask_engine(name), deadline)
        except BrokenStack as error:
            raise self._told_by_tests(names, files, deadline, by_engine) or error from error
        self._tell_tests(names, files, deadline, by_engine, say)
        ended()

    def _told_by_tests(
        self, names: Sequence[str], files: Sequence[Path], deadline: Deadline, by_engine: Sequence[str]
    ) -> BrokenStack | None:
        """Return the error for a build in which unit tests failed, None when none did."""
        for name in names:
            told = self._unit_tests(name, files, deadline, by_engine=name in by_engine)
            if told and told[0].failed:
                results, path = told
                lines = [f"  {test}{f': {why}' if why else ''}" for test, why in results.failed[:_MOST_TESTS]]
                return BrokenStack(
                    f"The image of service {name!r} could not be built: {results} ({self._place.show(path)})",
                    service=name,
                    details=lines,
                )
        return None

    def _tell_tests(
        self,
        names: Sequence[str],
        files: Sequence[Path],
        deadline: Deadline,
        by_engine: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """Say how the unit tests in builds ended that came to their end."""
        for name in names:
            if told := self._unit_tests(name, files, deadline, by_engine=name in by_engine):
                say(f"{name}: {told[0]} ({self._place.show(told[1])})")
            elif tests := self._containers.recipes[name].unit_tests:
                say(f"warning: {name}: no JUnit report {tests.report} was left in stage {tests.stage!r} of its build")

    def _unit_tests(
        self, name: str, files: Sequence[Path], deadline: Deadline, *, by_engine: bool
    ) -> tuple[unit_tests.Results, Path] | None:
        """Return how the unit tests in a build ended and where their report is, None for none that came out."""
        recipe = self._containers.recipes[name]
        if recipe.unit_tests is None:
            return None
        image, stage = f"{recipe.image}-tests", recipe.unit_tests.stage
        with contextlib.suppress(HarnessError, OSError):  # a stage that cannot be built has no report
            if by_engine:
                command = self._ask_engine(name, image=image, target=stage)
            else:
                file = self._folder / f"{self._stack}.{name}.tests.yaml"
                table = {"image": image, "build": {"target": stage}}
                artifacts.write_atomically(file, write({"services": {name: table}}))
                assert self._how is not None  # it was found for the build itself
                command = self._compose([name], [*files, file], self._how)
            self._run([name], command, deadline)
            path = unit_tests.fetch(self._place, self._stack, name, image, recipe.unit_tests)
            if path and (results := unit_tests.read(path.read_bytes())):
                self._place.report.event("unit_tests", service=name, total=results.total, failed=len(results.failed))
                return results, path
        return None

    def _ingredients(self, name: str) -> Ingredients:
        environ = {**self._place.settings.environ, **self._containers.env}
        return ingredients_of(self._containers.recipes[name], self._place.client, environ, self._made.of)

    def _is_there(self, name: str, made_of: Ingredients) -> bool:
        """Return whether the engine has the image that a service's would be; it is the service's then."""
        recipe = self._containers.recipes[name]
        image, there = recipe.image, None
        for known in self._made.as_known(self._stack, name, recipe, made_of):
            with in_words(f"Image {image!r}"):
                there = records.take(self._place.client, image, known.fingerprint)
            if there:
                made_of = known
                break
        self._made.note(image, made_of)
        if there:
            self._find(image, Found(there, made_of))
            self._stands[image] = records.by_content(image, made_of.fingerprint)
        if there and (self._records.last(image) or {}).get("id") != there:
            self._records.note(image, made_of.as_dict(), made_of.fingerprint, there)
        return there is not None

    def _find(self, image: str, found: Found) -> None:
        """Note an image for this stack, and for those that include it."""
        self.found[image] = self._place.images[image] = found

    def _note(self, name: str, made_of: Ingredients) -> None:
        """Give an image that was built the name that says what it is made of."""
        image, client = self._containers.recipes[name].image, self._place.client
        again = self._ingredients(name)  # a base that has come with the build is there now
        # What was written to meanwhile may be in the image or not.
        is_same = (again.lines, again.contexts) == (made_of.lines, made_of.contexts)
        if is_same and again.fingerprint and (made_of.doubts or again == made_of):
            made_of = again
        elif not made_of.doubts:
            made_of = replace(made_of, doubts=("it was changed while it was built",))
        fingerprint = made_of.fingerprint
        repository, _, tag = image.rpartition(":")
        with in_words(f"Image {image!r}"):
            built = image_id(client, own := self._names.of(image))
            if built is None:
                return  # somebody removes images
            client.tag(built, repository, tag)
            if fingerprint:
                client.tag(built, repository, fingerprint)
            self._find(image, Found(built, made_of))
            self._made.note(image, made_of)
            self._stands[image] = records.by_content(image, fingerprint) if fingerprint else own
            note_built(built, self._place.settings.environ)
            old = self._records.note(image, made_of.as_dict(), fingerprint, built)
            records.forget(client, image, old)

    def _hold_bases(self, names: Sequence[str]) -> None:
        """Give names of this build alone to images of included stacks that others are built from.

        By the checkout's name another run of it may have another one by now.
        """
        client, own = self._place.client, {recipe.image for recipe in self._containers.recipes.values()}
        stands = {image for name in names for image in self._containers.recipes[name].stands.values()}
        for image in sorted(stands - own - self._stands.keys()):
            if not image.startswith(PREFIX):
                continue
            with in_words(f"Image {image!r}"):
                found = self._place.images.get(image)
                if identity := found.id if found else image_id(client, image):
                    self._bases.add(image)
                    self._stands[image] = self._names.hold(image, identity)

    def _text(self, recipe: Recipe) -> str:
        """Return a Dockerfile by names that nobody moves while it is built."""
        text = recipe.text or ""
        for image in set(recipe.stands.values()) & self._stands.keys():
            text = text.replace(image, self._stands[image])
        return text

    def _by_engine(self, names: Sequence[str], how: Builder) -> list[str]:
        """Return what only BuildKit can build where Compose has none: the engine is asked for that itself.

        Raises:
            BrokenStack: neither can build it.
        """
        recipes = self._containers.recipes
        needy = [name for name in names if recipes[name].need] if how.kind == "classic" else []
        if not needy:
            return []
        with in_words("asking the engine for its version"):
            engine = builds_of(self._place.client)
        if engine.all_words:
            return []
        for name in needy:
            if why := why_not(recipes[name], how, engine):
                raise BrokenStack(
                    f"The image of service {name!r} could not be built: it needs BuildKit: "
                    f"{recipes[name].need} of {recipes[name].source}; {why}",
                    service=name,
                    hint=_what_next(recipes[name], how, engine),
                )
        return needy

    def _compose(self, names: Sequence[str], files: Sequence[Path], how: Builder) -> Compose:
        environment = dict(how.environment)
        if any(self._containers.recipes[name].uses_engine for name in names):
            environment["BUILDX_BUILDER"] = "default"  # another one does not see the engine's images
        # Compose labels images with its project: that of an environment would make another image for each.
        words = ["--project-name", PROJECT, "build", *names]
        return self._command(argv_of(self._place, self._containers, files, words), environment)

    def _ask_engine(self, name: str, *, image: str = "", target: str = "") -> Compose:
        recipe = self._containers.recipes[name]
        section = {**recipe.section, "target": target} if target else recipe.section
        order = through_engine.Order(
            image=image or self._names.of(recipe.image),
            context=str(recipe.section.get("context", ".")),
            dockerfile=self._text(recipe).encode(errors="surrogateescape").decode(errors="replace"),
            ignored=recipe.ignored,
            arguments=recipe.section.get("args") or {},
            labels=recipe.section.get("labels") or {},
            parameters=through_engine.parameters_of(section),
        )
        argv = [sys.executable, "-c", _BY_ENGINE, str(Path(through_engine.__file__).parents[2])]
        return self._command(argv, order.environment())

    def _command(self, argv: list[str], env: Mapping[str, str]) -> Compose:
        return Compose(
            stack=self._stack,
            argv=argv,
            env=environment_of(self._place, self._containers, env),
            cwd=ANYWHERE,
            log=str(self.log),
            services={},
            start=[],
            hooks={},
        )

    def _run(self, names: Sequence[str], command: Compose, deadline: Deadline) -> None:
        """Build images side by side. Raises BrokenStack."""
        since = self._now()
        try:
            answer = self._place.link.ask(command, timeout=deadline.remaining())
        except BaseException as error:
            # It would give the image its name when nobody takes that away any more.
            with contextlib.suppress(HarnessError):
                self._place.link.ask(StopCompose(stack=self._stack))
            if not isinstance(error, BrokenStack):
                raise
            lines = [f"  {line}" for line in last_lines(self.log, 12)]
            if deadline.expired():
                error.summary = f"Image of {', '.join(names)}: the build did not end in {deadline.budget:g} s"
            error.details = (*error.details, f"the end of {self._place.show(self.log)}:", *lines)
            raise
        if answer["code"] != 0:
            self._remove_failed_steps(since)
            raise build_error(names, self.log, answer["code"], [*filter(None, map(self._written, names))])

    def _written(self, name: str) -> Written | None:
        """Return the Dockerfile of a service for an error, with what it stands on that the engine lacks."""
        recipe = self._containers.recipes[name]
        if recipe.written is None:
            return None
        environ = {**self._place.settings.environ, **self._containers.env}
        args = {
            key: environ.get(key) if one is None else one for key, one in (recipe.section.get("args") or {}).items()
        }
        arguments = {key: str(one) for key, one in args.items() if one is not None}
        target = str(recipe.section.get("target") or "")
        absent = []
        with contextlib.suppress(HarnessError), in_words("asking the engine for base images"):
            for one in references(recipe.written, arguments, target):
                is_named = not one.is_stage and one.name != "scratch" and one.name not in recipe.stands
                if is_named and image_id(self._place.client, one.name) is None:
                    absent.append(one.name)
        return Written(name, relative(recipe.source), recipe.written, arguments, target, tuple(dict.fromkeys(absent)))

    def _now(self) -> datetime:
        """Return the time by the clock of the engine, which may be on another machine."""
        with contextlib.suppress(HarnessError, ValueError), in_words("asking the engine for its time"):
            facts: dict[str, Any] = self._place.client.info()
            if told := facts.get("SystemTime"):
                return datetime.fromisoformat(told)
        return datetime.now(UTC)

    def _write_what_differs(self, names: Sequence[str]) -> Path:
        """Write what builds are told beside the stack's files and override, and Dockerfiles with other names in FROM.

        Returns:
            What is for Compose.
        """
        services: dict[str, Any] = {}
        for name in names:
            recipe = self._containers.recipes[name]
            dockerfile = self._folder / f"{self._stack}.{name}.Dockerfile"
            if recipe.is_rewritten:
                artifacts.write_atomically(dockerfile, self._text(recipe))
                if recipe.ignored is not None:
                    artifacts.write_atomically(Path(f"{dockerfile}.dockerignore"), recipe.ignored)
            table = {key: dict(value) if key == "build" else value for key, value in recipe.alone.items()}
            if changed := build_keys(recipe, dockerfile):
                table["build"] = {**table.get("build", {}), **changed}
            services[name] = {**table, "image": self._names.of(recipe.image)}
        file = self._folder / f"{self._stack}.build.yaml"
        artifacts.write_atomically(file, write({"services": services}))
        return file

    def _remove_failed_steps(self, since: datetime) -> None:
        """Remove the containers of steps that failed: the classic builder leaves them, without any label.

        A step may print what it likes, so the id in the log is one proof only. The other: the container was made after
        the build began, from an image without a name as steps are, has ended, and carries no owner's label that its
        image has not brought along.
        """
        client: Any = self._place.client
        for step in set(_STEP.findall(self.log.read_bytes())):
            with contextlib.suppress(HarnessError), in_words("step of a build"):
                facts = client.inspect_container(step.decode())
                created = datetime.fromisoformat(facts["Created"])
                unnamed = str(facts["Config"].get("Image", "")).startswith("sha256:")
                strange = _OWNED & set(facts["Config"].get("Labels") or {}) and not _are_its_images(client, facts)
                if created >= since and unnamed and not strange and not facts["State"]["Running"]:
                    client.remove_container(facts["Id"], v=True)


def why_not(recipe: Recipe, how: Builder, engine: Builds) -> str:
    """Return why an engine's BuildKit cannot build an image when its API is asked, "" when it can."""
    if how.is_chosen:
        return how.reason
    if not engine.by_buildkit:
        return f"{how.reason}, and {engine.name} has none"
    if recipe.of_client:
        return f"{how.reason}, and without one there is no {' and no '.join(recipe.of_client)} in a build"
    if _is_too_new(recipe, engine):
        return f"the BuildKit of {engine.name} knows no here-documents, that of engine 23 and later does"
    return ""


def _what_next(recipe: Recipe, how: Builder, engine: Builds) -> str:
    if how.is_chosen:
        return "unset DOCKER_BUILDKIT"
    # By buildx, too, it is the engine's own that builds.
    return "use engine 23 or later, or RUN with one line" if _is_too_new(recipe, engine) else INSTALL_BUILDX


def _is_too_new(recipe: Recipe, engine: Builds) -> bool:
    return bool(recipe.need and recipe.need.is_heredoc and not engine.heredocs)


def _are_its_images(client: Any, facts: dict[str, Any]) -> bool:  # noqa: ANN401 - its stubs leave out much
    """Return whether a container has its owner's labels from its image, such as one made by ``docker commit``."""
    brought = client.inspect_image(facts["Image"])["Config"].get("Labels") or {}
    labels = facts["Config"]["Labels"]
    return all(brought.get(label) == labels.get(label) for label in _OWNED)
