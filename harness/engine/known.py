"""What is remembered of a settled service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import mapped_path
from harness.engine.plan import Endpoint
from harness.errors import Unsupported
from harness.stack import Login, Store, by_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.engine.plan import ServicePlan


@dataclass(frozen=True)
class Known:
    """What the keeper remembers of a settled service, so that any later run can use it.

    Attributes:
        stack: its stack.
        service: its name.
        endpoints: its published ports.
        env: its environment.
        cwd: its folder, of a process.
        mounts: container path -> path here, of a process.
        grace: seconds between TERM and KILL.
        container: full id of its container, "" for a process.
        attached: whether somebody else has started it.
        launcher: what is put before a command so that it runs as the service's user, of a process.
        login: how it is logged in to, where it is a database or store.
    """

    stack: str
    service: str
    endpoints: tuple[Endpoint, ...]
    env: Mapping[str, str]
    cwd: str
    mounts: Mapping[str, str]
    grace: float
    container: str = ""
    attached: bool = False
    launcher: tuple[str, ...] = ()
    login: Login | None = None

    @classmethod
    def of(cls, plan: ServicePlan, container: str, login: Login | None = None) -> Known:
        """Return what is to be remembered of a service that was started as planned."""
        return cls(
            plan.stack,
            plan.service,
            plan.endpoints,
            dict(plan.env),
            plan.folder,
            dict(plan.paths),
            plan.grace,
            container,
            attached=not plan.ours,
            launcher=plan.launcher,
            login=login,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        login = vars(self.login) if self.login else None
        return {**vars(self), "endpoints": [vars(endpoint) for endpoint in self.endpoints], "login": login}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Known:
        """Return it from JSON values."""
        ends, login = tuple(Endpoint(**endpoint) for endpoint in table["endpoints"]), table.get("login")
        more = {"launcher": tuple(table.get("launcher", ())), "login": Login(**login) if login else None}
        return cls(**{**table, "endpoints": ends, **more})

    @property
    def store(self) -> Store | None:
        """How it is connected to as a database or store, None when it is none."""
        end = by_number(self.endpoints).get(self.login.port) if self.login else None
        return Store(self.service, self.login, end.host, end.port) if self.login and end else None

    @property
    def is_local(self) -> bool:
        """Whether it is a local process."""
        return not (self.container or self.attached)

    def addresses(self) -> dict[str, str]:
        """Return ``SERVICE:PORT`` -> ``host:port`` of its ports, by their left numbers."""
        meant = by_number(self.endpoints)
        return {f"{self.service}:{end.left}": str(meant[end.left]) for end in self.endpoints}

    def refuse_attached(self, act: str) -> None:
        """Do nothing when it runs in this environment. Raises Unsupported when somebody else has started it."""
        if self.attached:
            raise self.refusal(act)

    def refusal(self, act: str) -> Unsupported:
        """Return the error for what cannot be done to a service of somebody else."""
        return Unsupported(f"Service {self.service!r} is attached: {act} is for whoever started it")

    def map_path(self, path: str) -> Path:
        """Return a container path as a path here; one that is not mounted stays."""
        return Path(mapped_path(path, self.mounts) or path)

    def map_words(self, argv: Sequence[str]) -> list[str]:
        """Return a command line with its absolute paths as they are where the service runs."""
        if not self.is_local:
            return list(argv)
        return [str(self.map_path(word)) if word.startswith("/") else word for word in argv]
