"""A cell that is left standing when its verdict is known, for a look at its roles or a shell in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.engine.known import Known
from harness.errors import BrokenStack, ConfigError, nearest
from harness.keeper.messages import Services
from harness.ownership.identity import RUN_COOKIE, SERVICE_COOKIE
from harness.procs import describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.keeper.messages import ServiceFacts
    from harness.matrix.cases import Case
    from harness.matrix.site import Site
    from harness.runs.environment import Environment


class Keeping:
    """Takes the place of the one cell that is to stand; of several attempts at it the last one's.

    Attributes:
        stack: that it is in the environment, "" while there is none.
    """

    def __init__(self) -> None:
        self.stack = ""
        self._site: Site | None = None

    def take(self, site: Site) -> None:
        """Leave a cell's place as it is. Raises HarnessError: it cannot stay."""
        self.stack = site.leave()
        self._site = site

    def drop(self) -> None:
        """Remove what is left of an earlier attempt. Raises HarnessError."""
        if self._site:
            self._site.remove()
            self._site, self.stack = None, ""


@dataclass(frozen=True)
class Stands:
    """A cell that stands in an environment.

    Attributes:
        cell: its id.
        stack: that it is.
        known: role -> what is known of it; each was started, or was to be.
        facts: role -> what the keeper tells of it, where it was started.
    """

    cell: str
    stack: str
    known: Mapping[str, Known]
    facts: Mapping[str, ServiceFacts]

    def lines(self, *, is_kept: bool) -> Iterator[str]:
        """Yield what there is, and what can be done with it."""
        yield f"cell {self.cell} stands as stack {self.stack}"
        for role in self.known:
            yield f"  {role}: {self.state_of(role)}"
        if is_kept:
            lives = next((role for role in self.known if self.is_alive(role)), next(iter(self.known)))
            yield f"look at it: harness ps, harness logs, harness exec --service {self.stack}/{lives} -- COMMAND"
            yield f"end it: harness down --stack {self.stack}"

    def state_of(self, role: str) -> str:
        """Return how a role is, in words."""
        facts = self.facts.get(role)
        if facts is None:
            return "was not started"
        if facts["exit_code"] is not None:
            return f"ended, {describe_exit(facts['exit_code'])}"
        return f"{facts['state']}, pid {facts['pid']}" if facts["pid"] else facts["state"]

    def is_alive(self, role: str) -> bool:
        """Return whether a role runs."""
        facts = self.facts.get(role)
        return facts is not None and facts["exit_code"] is None


def refuse_unknown_role(case: Case, role: str) -> None:
    """Do nothing for a role of a test. Raises ConfigError."""
    names = [each.name for each in case.roles]
    if role not in names:
        there = f"there are: {', '.join(names)}{nearest(role, names)}"
        raise ConfigError(f"--shell {role!r}: test {case.name} has no such role; {there}")


def standing(environment: Environment, cell: str, stack: str) -> Stands:
    """Return what stands of a cell. Raises BrokenStack."""
    answer = environment.link.ask(Services())
    record = answer["stacks"][stack]["record"] if stack in answer["stacks"] else {}
    known = {role: Known.from_dict(table) for role, table in record.get("services", {}).items()}
    facts = {each["service"]: each for each in answer["services"] if each["stack"] == stack}
    return Stands(cell, stack, known, facts)


def open_shell(environment: Environment, stands: Stands, role: str, say: Callable[[str], None]) -> None:
    """Open a shell in a role on this terminal, and return when it has ended.

    It is the environment's: whatever becomes of this process, it ends with its role.

    Raises:
        HarnessError: there can be none; a container that has ended takes none.
    """
    known = stands.known[role]
    if known.container and not stands.is_alive(role):
        state = stands.state_of(role)
        raise BrokenStack(f"Role {role!r} {state}: a shell in a container needs one that runs", service=role)
    say(f"a shell in role {role} ({stands.state_of(role)}); `exit` ends it")
    cookies = {RUN_COOKIE: environment.env, SERVICE_COOKIE: f"{stands.stack}/{role}"}
    environment.driver_of(known).shell(known, cookies)
