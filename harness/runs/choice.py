"""What a command works with: its settings and the engine, chosen once; and what can be told of a stack by these."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.engine import sources
from harness.engine.attach.plan import NAME as ATTACH
from harness.engine.choice import choose_engine
from harness.engine.compose.recipes import missing
from harness.engine.identity import Identity
from harness.engine.layout import CONTAINER, LOCALHOST, Layout, Local, at_localhost, clashes, dry_layout, find_strangers
from harness.engine.process.plan import NAME as EMBEDDED
from harness.errors import ConfigError, nearest
from harness.images import git_folder, with_subjects
from harness.runs.images import images_of, refuse_skipped
from harness.runs.known import all_kept, checkout_of
from harness.stack import copy_of, read_tree, set_apart, template_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings
    from harness.engine import ServicePlan
    from harness.engine.driver import Driver
    from harness.engine.layout import Stranger
    from harness.ownership.ledger import LedgerRecord
    from harness.runs.share import Share
    from harness.stack import Service, Stack, Tree


@dataclass(frozen=True)
class Choice:
    """The engine that a command was given, and what it was asked for. Nothing of it is created.

    Attributes:
        settings: what was asked for.
        engine: the engine.
        why: it is that one, in a few words.
        kept: engine -> the environment that is up there and may be used.
    """

    settings: Settings
    engine: Driver
    why: str
    kept: Mapping[str, LedgerRecord]

    @property
    def is_up(self) -> bool:
        """Whether there is an environment on the engine already."""
        return self.engine.name in self.kept

    @property
    def local(self) -> Local:
        """What runs as a local process on every engine."""
        return Local(self.settings.local_build, self.settings.local)

    @property
    def is_localhost(self) -> bool:
        """Whether published ports are on 127.0.0.1, as files say; where nothing is started that is somebody else's."""
        return self.settings.addresses == LOCALHOST and self.engine.name != ATTACH

    def at_localhost(self, stack: Stack) -> tuple[Service, ...]:
        """Return the services of a stack whose ports are on 127.0.0.1, as its file says."""
        return () if self.engine.name == ATTACH else at_localhost(stack, every=self.is_localhost)

    def strangers(self, tree: Tree) -> dict[tuple[int, str], Stranger]:
        """Return who makes ports of a tree move; on localhost none does."""
        return {} if self.is_localhost else find_strangers(tree)

    def read(self, stack: str) -> Tree:
        """Return the tree of a stack, by name or file. Raises ConfigError with all that is wrong with it."""
        settings = self.settings
        tree = read_tree(
            settings.stack_files(stack),
            settings.environ,
            profiles=settings.profiles,
            strict=settings.strict_variables,
            folder=settings.root,
            wanted=settings.inside,
        )
        tree = with_subjects(tree, settings.subjects, git_folder(settings.environ, settings.state))
        return set_apart(tree, settings.inside) if settings.inside else tree

    def templates_of(self, stack: Stack) -> dict[str, Tree]:
        """Return name -> the template, of those that the deployer of a stack makes copies of.

        Raises:
            ConfigError: with all that is wrong with their files.
        """
        deployer = stack.settings.deployer
        templates: dict[str, Tree] = {}
        problems: list[str] = []
        for name, template in deployer.templates.items() if deployer else ():
            plain = replace(self, settings=replace(self.settings, inside=""))
            try:
                templates[name] = tree = plain.read(str(stack.folder / template.file))
                wrong = template_problem(tree, template)
                problems += [f"{stack.files[0]}: template {name!r}: {wrong}"] if wrong else []
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError.of(problems)
        return templates

    def _check_templates(self, stack: Stack) -> list[str]:
        """Return what is wrong with the templates of a stack on this engine."""
        try:
            for name, template in self.templates_of(stack).items():
                tree = copy_of(template, name, {}, stack.name)
                images = images_of(tree, tree.root, self.settings.environ, None)
                self.engine.plan(tree, name, self.dry_layout(tree, {}), Identity("", "dry", {}), images)
        except ConfigError as error:
            return list(error.problems)
        return []

    def check(self, tree: Tree) -> tuple[dict[tuple[int, str], Stranger], list[ServicePlan]]:
        """Check that every stack of ``tree`` can be planned on this engine.

        Returns:
            Who is in the way of its ports, and its services as planned.

        Raises:
            ConfigError: with everything in its files that cannot work.
            SkippedStack: a variable leaves out a service of it.
        """
        environ = self.settings.environ
        refuse_skipped(tree, environ)
        strangers = self.strangers(tree)
        self._check_local(tree)
        layout = self.dry_layout(tree, strangers)
        identity = Identity(checkout_of(self.settings), "dry", {})
        absent = sources.missing(tree)
        problems = clashes(tree, localhost=self.is_localhost)
        planned: list[ServicePlan] = []
        for stack in tree.stacks:
            try:
                plan = self.engine.plan(tree, stack.name, layout, identity, images_of(tree, stack, environ, None))
                planned += plan.services
                names = plan.containers.build if plan.containers else ()
                built = [service for service in stack.services if service.name in names]
                absent += [f"{why} ({stack.files[0]})" for service in built if (why := missing(service))]
            except ConfigError as error:
                problems += error.problems
            problems += self._check_templates(stack) if self.engine.name != ATTACH else []
        if absent or problems:
            services = [service for stack in tree.stacks for service in stack.services]
            was_found = self.settings.engine == "auto"
            plain = not any(service.process for service in services)
            if self.engine.name == EMBEDDED and plain and (was_found or not any(one.has_settings for one in services)):
                # Written for containers only: what is missing is the engine, not words about how to do without it.
                step = "start one or set DOCKER_HOST" if was_found else "take engine compose"
                why = self.why if was_found else f"engine {EMBEDDED} has none; {self.why}"
                raise ConfigError(
                    f"Stack {tree.root.name!r} needs a Docker engine ({why})",
                    hint=f"{step}; or say under x-harness.embedded how its services run without",
                )
            # A file that is not there would not be there for another engine either.
            chosen = f"engine {self.engine.name} was chosen, {self.why}" if was_found and problems else ""
            raise ConfigError.of([*absent, *problems], hint=chosen)
        return strangers, planned

    def dry_layout(self, tree: Tree, strangers: dict[tuple[int, str], Stranger]) -> Layout:
        """Return a layout of ``tree`` with addresses that stand for those of an environment."""
        layout = dry_layout(
            tree,
            self.settings.environ,
            strangers,
            self.engine.name,
            local=self.local,
            container_addresses=self.settings.addresses == CONTAINER,
        )
        return replace(layout, located=self.engine.locate(tree), localhost=self.is_localhost)

    def _check_local(self, tree: Tree) -> None:
        """Do nothing when everything that shall run as a local process can, in this stack or another.

        Raises:
            ConfigError: a service of ``--local`` does not exist, or nothing can run from ``--local-build``.
        """
        here = [service for stack in tree.stacks for service in stack.services]
        unknown = self.local.commands.keys() - {service.name for service in here}
        idle = bool(self.local.build) and not any(service.settings.local for service in here)
        subjects = [service.name for service in here if service.settings.subject]
        if not unknown and not idle:
            return
        everywhere = [*here, *self._services_of_others(tree)]
        names = {service.name for service in everywhere}
        for name in sorted(unknown - names):
            raise ConfigError(
                f"--local {name}=...: there is no service {name!r}; there are: {', '.join(sorted(names))}"
                f"{nearest(name, names)}"
            )
        # A stack without any subject, such as a broker's, is nobody's to build; that of another is meant.
        if idle and (subjects or not any(service.settings.local for service in everywhere)):
            origin = self.settings.origins["local_build"]
            option = "--local-build" if origin == "command line" else origin
            whose = f"subject {subjects[0]!r}" if subjects else "no service"
            has = "has no x-harness.local" if subjects else "has x-harness.local"
            raise ConfigError(
                f"{option} {self.local.build}: {whose} of stack {tree.root.name!r} {has}, so nothing would run from it",
                hint="say under x-harness.local of the subject how it runs from there; or use --local NAME=COMMAND",
            )

    def _services_of_others(self, tree: Tree) -> list[Service]:
        """Return the services of the project's other stacks, as far as these can be read."""
        services: list[Service] = []
        for path in self.settings.stack_folder.glob("*.y*ml"):
            if path.stem != tree.root.name:
                with contextlib.suppress(ConfigError):  # it is told of when it is used
                    services += [service for stack in self.read(path.stem).stacks for service in stack.services]
        return services


def choose(settings: Settings, share: Share | None = None) -> Choice:
    """Choose the engine of a command, as ``choose_engine`` does.

    Args:
        settings: what was asked for.
        share: what a run has in common with others that work for the same process, None when it is alone.
    """
    shared = share.record(settings) if share else None
    kept = {shared.engine: shared} if shared else all_kept(settings)
    return Choice(settings, *choose_engine(settings, {name: record.env for name, record in kept.items()}), kept)
