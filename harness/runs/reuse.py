"""Stacks that are up already, as a run finds them: unchanged or not, alive, and answering."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import file_size, last_lines
from harness.engine.fingerprint import started_otherwise
from harness.engine.known import Known
from harness.errors import BrokenStack, ConfigError
from harness.keeper.messages import Services
from harness.runs.changes import changed_services
from harness.runs.deaths import died
from harness.runs.known import changing
from harness.runs.replacing import Replacement, Seen, beyond_services, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.config import Settings
    from harness.engine import ServicePlan
    from harness.keeper.messages import ServiceFacts, StackFacts
    from harness.runs.environment import Environment
    from harness.stack import Stack as Declared
    from harness.stack import Tree

ANSWER_BUDGET = 3.0  # for the probes of what was left up, before it is used
KEPT = "kept"  # the hold that ``up`` adds (``keeper.keeper``)


class Reuse:
    """What one run does with stacks that are up.

    Args:
        say: takes lines for the user.
        new_run: whether they are used as they are (a test run), or started anew when they were changed (``up``).
        alone: whether the run shares its environment with no other.

        replaces: whether services that changed since they were started are made again.

    Attributes:
        changed: the stacks that were changed since they were started, and are to be started anew.
        outdated: services whose images are others now.
        replaced: services that were made again.
    """

    def __init__(self, say: Callable[[str], None], *, new_run: bool, alone: bool, replaces: bool = False) -> None:
        self.changed: list[str] = []
        self.outdated: set[str] = set()
        self.replaced: set[str] = set()
        self._replaces = replaces
        self._say = say
        self._new_run = new_run
        self._alone = alone
        self._asked: set[str] = set()  # stacks that were up and were looked at

    def to_replace(
        self,
        environment: Environment,
        tree: Tree,
        stack: Declared,
        plans: Mapping[str, ServicePlan],
        parts: tuple[dict[str, Any], dict[str, str]],
    ) -> Replacement:
        """Return which services of a stack that is up are made again before it is used: those that changed.

        None where that is not wanted, or the stack must be started anew, or is used by others: that is told.

        Args:
            environment: where it is up.
            tree: the stack with those that it includes.
            stack: which of them it is.
            plans: its services as they would be now.
            parts: what was recorded when it had settled, and what decides how it would run now.
        """
        record, now = parts
        if (
            record.get("failed")
            or not self._replaces
            or stack.name in self._asked
            or started_otherwise(record["parts"], now)
        ):
            return Replacement()
        answer = environment.link.ask(Services())
        if not _is_kept(answer["stacks"], stack.name):
            return Replacement()
        changed = changed_services(environment.folder, stack.name, answer["services"], environment.settings.root)
        if environment.settings.build == "never":  # what is built stays as it is, and is told as ever
            changed = [one for one in changed if one.unfinished or plans[one.service].is_local]
        sources = {service.service: service.how for service in changed}
        seen = Seen(record["parts"], now, sources, self.outdated, self.replaced)
        if beyond := beyond_services(seen.before, seen.now):
            if self._new_run:
                self._say(f"stack {stack.name!r}: {beyond[0]}; `harness up` starts it anew")
            return Replacement()
        replacement = decide(tree, stack, plans, seen)
        if replacement.names and len(_runs(answer["stacks"][stack.name]["holders"])) > 1:
            self._say(f"{', '.join(replacement.names)}: not replaced, since others use stack {stack.name!r} now")
            return Replacement()
        return replacement

    @contextmanager
    def alone_at_it(self, settings: Settings) -> Iterator[None]:
        """Have nobody else change what this checkout keeps; ``up`` sees to that itself."""
        if self._new_run:
            with changing(settings, "changed", self._say):
                yield
        else:
            yield

    def use(
        self, environment: Environment, stack: str, record: dict[str, Any], parts: dict[str, str]
    ) -> dict[str, Known]:
        """Return the services of a stack that is used.

        Args:
            environment: where it is up.
            stack: its name.
            record: what was recorded when it had settled.
            parts: what decides how it would run now, as in the record.

        Raises:
            ConfigError: it was started otherwise than an option says now.
            BrokenStack: a service of it has ended, is stopped, or does not answer.
        """
        known = {name: Known.from_dict(table) for name, table in record["services"].items()}
        if failed := record.get("failed"):
            raise BrokenStack(
                f"Stack {stack!r} did not settle and was left for a look: {failed}",
                hint="`harness up` starts it anew, `harness down` removes it",
            )
        if self._new_run and (other := started_otherwise(record["parts"], parts)):
            raise ConfigError(
                f"Stack {stack!r} is up and was started otherwise: {', '.join(other)}",
                hint="`harness down` first, or `harness up` with the same option, which starts it anew",
            )
        changed = record["parts"] != parts
        if changed:
            self.changed.append(stack)
            if not self._new_run:
                return known  # whatever became of it, it is started anew
            self._say(f"stack {stack!r} was changed after it was started; it is used as it was")
        answer = environment.link.ask(Services())
        listed = [
            facts
            for facts in answer["services"]
            if facts["service"] in known and known[facts["service"]].stack == facts["stack"]
        ]
        for facts in listed:
            environment.lives.learn(facts)
            environment.report.log_range(
                f"{facts['stack']}/{facts['service']}",
                environment.folder / "services" / facts["log"].rpartition("/")[2],
                file_size(Path(facts["log"])),
            )
        if self._new_run:
            for service in changed_services(environment.folder, stack, listed, environment.settings.root):
                self._say(str(service))
        self._refuse_dead(environment, listed)
        if stack not in self._asked and _is_alone(answer["stacks"][stack]["holders"]):
            self._refuse_deaf(environment, listed)
        self._asked.add(stack)  # from now on it is as this run makes it
        return known

    def _refuse_dead(self, environment: Environment, listed: list[ServiceFacts]) -> None:
        """Do nothing when no service has ended by itself. Raises BrokenStack."""
        for facts in listed:
            if facts["state"] == "exited" and not facts["expected"] and not environment.lives.may_have_ended(facts):
                raise _with_way_out(self._died_before(environment, facts), facts)

    def _died_before(self, environment: Environment, facts: ServiceFacts) -> BrokenStack:
        """Return the error for a service that had ended when its stack was asked for."""
        ended = environment.lives.exit_of(facts["stack"], facts["service"])
        under = facts.get("under", "")
        if under and (ended or not self._alone):
            return died(environment, facts, under)
        if ended:
            return died(environment, ended)
        if not self._alone:
            return died(environment, facts, "under a test of another worker")
        return died(environment, facts, f"{under} before this run came".lstrip())

    def _refuse_deaf(self, environment: Environment, listed: list[ServiceFacts]) -> None:
        """Do nothing when every service runs and answers its probes. Raises BrokenStack."""
        for facts in listed:
            if facts["state"] in ("exited", "paused") and not environment.lives.may_have_ended(facts):
                state = "stopped" if facts["state"] == "exited" else facts["state"]
                error = BrokenStack(f"Service {facts['service']!r} was left {state}", service=facts["service"])
                raise _with_way_out(error, facts)
        running = {f"{facts['stack']}/{facts['service']}": facts for facts in listed if facts["state"] == "running"}
        for name, answer in environment.ask_once(running, ANSWER_BUDGET).items():
            if answer:
                facts = running[name]
                summary = f"Service {facts['service']!r} is up and does not answer its probe: {answer}"
                error = BrokenStack(
                    f"{summary} ({environment.show(Path(facts['log']))})",
                    service=facts["service"],
                    details=[f"  {line}" for line in last_lines(Path(facts["log"]), start=facts["log_start"])],
                )
                raise _with_way_out(error, facts)


def _is_alone(holders: Sequence[str]) -> bool:
    """Return whether a stack that was left up is used by nobody but the one run that asks."""
    return KEPT in holders and len(_runs(holders)) == 1


def _runs(holders: Sequence[str]) -> list[str]:
    return [holder for holder in holders if holder.startswith("run-")]


def _is_kept(stacks: Mapping[str, StackFacts], name: str) -> bool:
    """Return whether a stack was left up, by itself or since one that includes it was."""
    above = [other for other, facts in stacks.items() if name in facts["includes"]]
    return KEPT in stacks[name]["holders"] or any(_is_kept(stacks, other) for other in above)


def _with_way_out(error: BrokenStack, facts: ServiceFacts) -> BrokenStack:
    error.hint = f"`harness restart --service {facts['service']}` starts it again"
    return error
