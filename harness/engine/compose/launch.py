"""Containers on their way: images are got or built, Compose is run as a child of the keeper, and its word is heard."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import artifacts
from harness.artifacts import last_lines
from harness.clock import Deadline, poll
from harness.daemon import in_words
from harness.engine.compose import subnets
from harness.engine.compose.building import Building
from harness.engine.compose.calls import FOLDER, argv_of, environment_of
from harness.engine.compose.copies import archive_of
from harness.engine.compose.locked import refuse_others
from harness.engine.compose.override import write
from harness.errors import BrokenStack, HarnessError
from harness.images import ensure_image, image_id
from harness.images.built import PREFIX
from harness.images.lock import FILE as LOCK
from harness.images.records import Records
from harness.keeper.messages import Compose, StartCreated, StopCompose
from harness.ownership.objects import IMAGE
from harness.refusals import why_not_started
from harness.stack import ANYWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from harness.engine import ContainerPlan, ServicePlan, StackPlan
    from harness.engine.driver import Place
    from harness.images.fingerprint import Found
    from harness.keeper.messages import Composed, Hooks
    from harness.readiness import Stop

ANSWER_BUDGET = 30.0  # whoever waits for the services gives up first, and says so better
_FAILS = re.compile(r"\b(?:Error|failed|unhealthy|exited|didn't complete)\b")


class _Made(NamedTuple):
    """What Compose is about to make: service -> grace in seconds, -> hooks, and those that are then started."""

    graces: dict[str, float]
    hooks: dict[str, Hooks]
    start: list[str]


_NOTHING = _Made({}, {}, [])


class Launch:
    """Compose at work for one stack.

    Args:
        place: where it happens.
        plan: what is to be started.
    """

    def __init__(self, place: Place, plan: StackPlan) -> None:
        assert plan.containers is not None  # the caller looked
        self.place = place
        self.plan = plan
        self.containers = plan.containers
        folder = place.folder / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self.override = folder / f"{plan.stack}.override.yaml"
        self.log = folder / f"{plan.stack}.log"
        self._ids = folder / f"{plan.stack}.images.yaml"
        artifacts.write_atomically(self.override, self.containers.override)
        self._built: Mapping[str, Found] = {}  # name -> image, of what this run has built or found
        self._failed: BrokenStack | None = None
        self._waiting: set[str] = set()
        self._created = False

    def prepare(self, say: Callable[[str], None]) -> StackPlan:
        """Build what is built and get what is missing; return the plan with what the images tell of themselves.

        Raises:
            ConfigError: a subnet of its networks is taken, or an image is another than the lock holds (``locked``).
            BrokenStack: a build failed, or an image is nowhere to be had.
        """
        settings = self.place.settings
        if self.containers.subnets:
            with in_words("The engine's networks"):
                subnets.refuse_taken(self.containers.subnets, self.place.client.networks())
        if self.containers.build and settings.build != "never":
            self.build(say)
        client: Any = self.place.client  # its stubs leave out what is asked for here
        images: dict[str, dict[str, Any]] = {}
        prepared: dict[str, ServicePlan] = {}
        for plan in self.plan.in_containers:
            with in_words(f"Image {plan.image!r} of service {plan.service!r}"):
                if plan.image not in images:
                    found = self._built.get(plan.image)
                    if found is None:
                        self._get(client, plan)
                    # By its name another run of this checkout may have another one by now.
                    images[plan.image] = client.inspect_image(found.id if found else plan.image)
            image = images[plan.image]
            check = (image.get("Config") or {}).get("Healthcheck") or {}
            self._note(plan, image)
            declared = bool(check.get("Test")) and check.get("Test") != ["NONE"]
            has_check = plan.healthcheck or (declared and not plan.health_off)
            prepared[plan.service] = replace(plan, healthcheck=has_check)
        if settings.locked:
            refuse_others(settings.root / LOCK, self.plan.in_containers, self._built, images)
        self._fix({plan.service: (plan.image, images[plan.image]["Id"]) for plan in self.plan.in_containers})
        services = tuple(prepared.get(plan.service, plan) for plan in self.plan.services)
        return replace(self.plan, services=services)

    def _note(self, plan: ContainerPlan, image: dict[str, Any]) -> None:
        """Write down for the run which image a service runs."""
        settings = self.place.settings
        last = Records(str(settings.root.resolve()), settings.environ).last(plan.image) or {}
        self.place.report.image(
            plan.image,
            image["Id"],
            stack=plan.stack,
            service=plan.service,
            strategy=plan.strategy,
            size=image.get("Size"),
            created=image.get("Created"),
            commit=plan.commit,
            **plan.about,
            fingerprint=last.get("fingerprint", "") if last.get("id") == image["Id"] else "",
        )

    def _fix(self, images: dict[str, tuple[str, str]]) -> None:
        """Have Compose create containers by the ids of images: a name may stand for another one by then."""
        services = {name: {"image": id_, "labels": {IMAGE: image}} for name, (image, id_) in images.items()}
        artifacts.write_atomically(self._ids, write({"services": services}))

    def _get(self, client: Any, plan: ContainerPlan) -> None:  # noqa: ANN401 - as in ``prepare``
        """Have the engine have a service's image. Raises BrokenStack."""
        settings = self.place.settings
        if not plan.image.startswith(PREFIX):
            pull: Any = settings.pull if plan.is_pulled else "never"
            ensure_image(client, plan.image, service=plan.service, variable=plan.variable, pull=pull)
        elif image_id(client, plan.image) is None:
            off = ", and building is off" if settings.build == "never" else ""
            raise BrokenStack(
                f"Service {plan.service!r}: image {plan.image!r} was never built here{off}",
                service=plan.service,
                hint="`harness build`, or leave out --no-build",
            )

    def build(self, say: Callable[[str], None]) -> list[str]:
        """Build what is built; return the services whose images were there.

        Raises:
            ConfigError: an image is another than the lock holds (``locked``).
            BrokenStack: a build failed.
        """
        building = Building(self.place, self.plan, self.override)
        there = building.build(say)
        self._built = building.found
        settings = self.place.settings
        if settings.locked:
            built = [plan for plan in self.plan.in_containers if plan.image in self._built]
            refuse_others(settings.root / LOCK, built, self._built, {})
        return there

    def begin(self, names: Sequence[str], first: Collection[str], news: Callable[[], None], timeout: float) -> None:
        """Create services, and start those of them that come ``first``; returns at once.

        ``news`` is called when Compose has created them all, or could not.
        """
        graces = {plan.service: plan.grace for plan in self.plan.services if plan.service in names}
        for plan in self.plan.in_containers:
            if plan.service not in names:
                continue
            for folder in plan.folders:
                with contextlib.suppress(OSError):  # then the engine makes it, of its own user
                    folder.mkdir(parents=True, exist_ok=True)
            if plan.log_file:
                # The engine would make a folder of it. Whoever the container runs as must be able to write it.
                plan.log_file.touch()
                plan.log_file.chmod(0o666)
        hooks = {plan.service: plan.hooks for plan in self.plan.in_containers if plan.service in names and plan.hooks}
        # Compose would start one after the other, and knows nothing of probes; the keeper starts many at once.
        # Whoever starts a service with hooks waits for them.
        free = self.containers.free - hooks.keys()
        # What is copied into a container must be there before it starts, and comes from here.
        filled = [plan for plan in self.plan.in_containers if plan.service in names and plan.copied]
        free = free - {plan.service for plan in filled}
        at_once = [name for name in names if name in first and name in free]
        self._waiting = set(names) - set(at_once)
        self._created = False
        again = ["--force-recreate"] if self.containers.again else []
        words = ["up", "--no-start", "--no-deps", "--no-build", *again, "--pull", "never", *names]
        budget = timeout + ANSWER_BUDGET

        def create() -> None:
            try:
                self._up(words, budget, _Made(graces, hooks, at_once))
                for plan in filled:
                    self._fill(plan)
            except BrokenStack as error:
                self._failed = error
            except HarnessError as error:
                self._failed = BrokenStack(error.summary, details=error.details)
            self._created = True
            news()

        threading.Thread(target=create, name="harness-up", daemon=True).start()

    def _up(self, words: list[str], timeout: float, made: _Made) -> None:
        """Have Compose do something, and the keeper start what was created. Raises BrokenStack."""
        begun = artifacts.file_size(self.log)
        answer = self._compose(words, self.log, timeout, made)
        if answer["code"] != 0:
            raise self._error(answer["code"], last_lines(self.log, 12, begun))
        if answer["refused"]:
            raise self._not_started(answer["refused"])

    def _fill(self, plan: ContainerPlan) -> None:
        """Copy into a container that is created what it has of this machine. Raises HarnessError."""
        with in_words(f"Service {plan.service!r}: its files cannot be copied into the container"):
            try:
                archive = archive_of(plan.copied)
            except OSError as error:
                raise BrokenStack(
                    f"Service {plan.service!r}: {error.filename} cannot be copied: {error.strerror}",
                    service=plan.service,
                ) from error
            self.place.client.put_archive(f"{self.containers.project}-{plan.service}-1", "/", archive)

    def start(self, name: str, up: Deadline, stop: Stop) -> None:
        """Start a service that did not come first, once it is created. Raises BrokenStack when it cannot be."""
        if name not in self._waiting:
            return
        for _ in poll(up, wake=stop.subscribe()):
            if self._failed or stop.stopped:
                return
            if self._created:
                break
        else:
            return
        self._waiting.discard(name)
        budget = up.remaining() + ANSWER_BUDGET
        if name in self.containers.free:
            asked = StartCreated(stack=self.plan.stack, services=[name], patience=up.remaining())
            if refused := self.place.link.ask(asked, timeout=budget)["refused"]:
                raise self._not_started(refused)
        else:
            words = ["up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--pull", "never", name]
            self._up(words, budget, _NOTHING)

    @property
    def failed(self) -> BrokenStack | None:
        """Why Compose could not start everything, None while it may."""
        return self._failed

    def stop(self) -> None:
        """End what Compose does now."""
        self.place.link.ask(StopCompose(stack=self.plan.stack))

    def _not_started(self, refused: dict[str, str]) -> BrokenStack:
        """Return the error for containers that the engine did not start, and write its words where Compose's are."""
        lines = [f"{service}: {words}" for service, words in refused.items()]
        artifacts.append(self.log, "\n".join([*lines, ""]))
        service, words = next(iter(refused.items()))
        return BrokenStack(
            f"Service {service!r} could not be started: {why_not_started(words)} ({self.place.show(self.log)})",
            service=service,
            details=[f"  {line}" for line in lines],
        )

    def _error(self, code: int | None, lines: list[str]) -> BrokenStack:
        """Return the error for an ``up`` that failed, blaming the service that its cause names."""
        said = [line for line in lines if "level=warning" not in line]
        cause = next((line.strip() for line in reversed(said) if line.strip()), f"exit code {code}")
        # Compose's last line is the cause; before it come lines of progress, of services that are well.
        blamed = next((name for line in reversed(said) if _FAILS.search(line) for name in self._named(line)), "")
        blamed = next(iter(self._named(cause)), blamed)
        who = f"Service {blamed!r}" if blamed else f"Stack {self.plan.stack!r}"
        return BrokenStack(
            f"{who} could not be started: {why_not_started(cause)} ({self.place.show(self.log)})",
            service=blamed,
            details=[f"  {line}" for line in said],
        )

    def _named(self, line: str) -> list[str]:
        """Return the services that a line of Compose names: by their containers, or in words."""
        names = [plan.service for plan in self.plan.services]
        project = re.escape(self.containers.project)
        return [name for name in names if re.search(rf"\b{project}-{re.escape(name)}-1\b|\"{re.escape(name)}\"", line)]

    def _compose(self, words: list[str], log: Path, timeout: float, made: _Made) -> Composed:
        return self.place.link.ask(
            Compose(
                stack=self.plan.stack,
                argv=argv_of(self.place, self.containers, [self.override, self._ids], words),
                env=environment_of(self.place, self.containers, {}),
                cwd=ANYWHERE,
                log=str(log),
                services=made.graces,
                start=made.start,
                hooks=made.hooks,
            ),
            timeout=timeout,
        )
