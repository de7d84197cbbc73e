"""The files of services that are no known store, as they were when their stack had been seeded.

They are copied, and put back, while their service is stopped. A copy is in the environment's folder and goes with it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.known import Known
from harness.engine.plan import ProcessPlan
from harness.engine.users import place_for
from harness.errors import ConfigError, HarnessError, Unsupported
from harness.ownership.removal import WORK
from harness.runs.settling import Settling
from harness.runs.stack import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.runs.planning import Planned

_KEPT = ".seeded"  # no stack has such a name


@dataclass(frozen=True)
class Files:
    """The files of services.

    Attributes:
        settled: stack -> how it settled.
        say: takes lines for the user.
    """

    settled: Mapping[str, Settling]
    say: Callable[[str], None]

    def take(self, stack: str, name: str) -> None:
        """Copy what a service has now: stop it for that, start it again and wait until it is ready.

        Raises:
            Unsupported: it has nothing that is copied, with the reason.
            HarnessError: it could not be copied, or the service did not become ready again.
        """
        planned = self.settled[stack].planned
        folders = _folders(planned, name)
        _stop(planned, name)
        for folder, root in folders.items():
            kept = _kept(planned, name, folder, root)
            with _aside(root) as made:
                copy = _copy(folder, made / "copy")
                kept.parent.mkdir(parents=True, exist_ok=True)
                _exchange(kept, copy, made / "old")
        _start(planned, name)
        self.say(f"service {name!r} was stopped, its files were copied as seeded, and it was started again")

    def bring_back(self, stack: str, name: str) -> None:
        """Have the folders of a service hold what was copied, and nothing else, and the service be ready with that.

        Raises:
            Unsupported: as ``take``.
            ConfigError: nothing was copied.
            HarnessError: it could not be put back, or the service did not become ready again.
        """
        planned = self.settled[stack].planned
        folders = _folders(planned, name)
        copies = {folder: _kept(planned, name, folder, root) for folder, root in folders.items()}
        if not all(kept.is_dir() for kept in copies.values()):
            raise ConfigError(
                f"Service {name!r} cannot be reset: its files were not copied when it was seeded",
                hint="with `x-harness: {reset: true}` of the service they are, once its stack is brought up anew",
            )
        with ExitStack() as asides:
            made = {folder: asides.enter_context(_aside(root)) for folder, root in folders.items()}
            for folder, aside in made.items():
                _copy(copies[folder], aside / "copy")  # while the service runs: nothing is lost if that fails
            _stop(planned, name)
            for folder, aside in made.items():
                _exchange(folder, aside / "copy", aside / "old")
            _start(planned, name)
        self.say(f"service {name!r} was reset: it was stopped, its files were put back, and it was started again")


def _folders(planned: Planned, name: str) -> dict[Path, Path]:
    """Return the folders of a service that are copied, none within another, each with what it is in of the environment.

    Raises:
        Unsupported: there is something that cannot be brought back, with the reason.
    """
    plan = planned.plans[name]
    if not plan.ours:
        raise Known.of(plan, "").refusal("to reset it")
    if not isinstance(plan, ProcessPlan):
        raise _unsupported(name, "volumes and files of containers are not copied, those of local processes are")
    if name in planned.oneshots:
        raise _unsupported(name, "it is done when it has ended, so that nothing runs that could be brought back")
    environment = planned.environment
    roots = (environment.folder / WORK, place_for(environment.env))
    written = {mount: Path(plan.mounts[mount.target]) for mount in planned.service(name).mounts if not mount.read_only}
    found = {plan.data}
    for mount, here in written.items():
        if not here.is_dir():
            continue  # a file, which is laid down when the service comes up, or a socket
        if not any(here.is_relative_to(root) for root in roots):
            raise _unsupported(
                name,
                f"{mount.source} is mounted at {mount.target}, a folder of yours, which is never overwritten; "
                "a service that only reads it mounts it with `:ro`",
            )
        if mount.kind == "volume" and mount.source and (other := _other_user(planned, name, mount.source)):
            raise _unsupported(name, f"volume {mount.source!r} is used by service {other!r} too, which runs on")
        found.add(here)
    outermost = [folder for folder in sorted(found) if not found & set(folder.parents)]
    return {folder: next(root for root in roots if folder.is_relative_to(root)) for folder in outermost}


def _unsupported(name: str, why: str) -> Unsupported:
    way_out = 'a stack fixture with scope="function" gives each test a new one'
    return Unsupported(f"Service {name!r} cannot be reset: {why}", hint=way_out)


def _other_user(planned: Planned, name: str, volume: str) -> str:
    """Return another service that runs and has a volume, "" for none."""
    others = (service for service in planned.stack.services if service.name not in (name, *planned.oneshots))
    return next((other.name for other in others if any(mount.source == volume for mount in other.mounts)), "")


def _stop(planned: Planned, name: str) -> None:
    Service(Known.of(planned.plans[name], ""), planned.environment).stop()


def _start(planned: Planned, name: str) -> None:
    """Start a service that was stopped and wait until it is ready; what is told of its probes was told before."""
    Settling(planned, lambda _: None).restart(name, 0.0)


def _kept(planned: Planned, name: str, folder: Path, root: Path) -> Path:
    return root / _KEPT / planned.stack.name / name / folder.relative_to(root)


@contextmanager
def _aside(root: Path) -> Iterator[Path]:
    """Give a folder beside the copies, on the same file system, that is gone in the end with what is in it then."""
    (root / _KEPT).mkdir(mode=0o700, exist_ok=True)  # nobody else can put a link in the way of what root writes
    with tempfile.TemporaryDirectory(prefix=".", dir=root / _KEPT, ignore_cleanup_errors=True) as made:
        yield Path(made)


def _copy(source: Path, target: Path) -> Path:
    """Copy a folder with modes, times and owners; return the copy. Raises HarnessError."""
    try:
        shutil.copytree(source, target, symlinks=True, ignore=_neither_file_nor_folder)
        if os.geteuid() == 0:
            _own_alike(source, target)
    except shutil.Error as error:  # each with its source, its target and why
        first: Sequence[str] = error.args[0][0]
        raise HarnessError(f"{first[0]} could not be copied: {first[2]}") from error
    except OSError as error:
        raise HarnessError(f"{error.filename or source} could not be copied: {error.strerror}") from error
    return target


def _neither_file_nor_folder(folder: str, names: Sequence[str]) -> list[str]:
    """Return which names are sockets, pipes and devices: a process makes these anew."""
    modes = {name: Path(folder, name).lstat().st_mode for name in names}
    return [
        name for name, mode in modes.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    ]


def _own_alike(source: Path, target: Path) -> None:
    """Give a copy the owners of what it was made from."""
    for folder, folders, files in os.walk(source):
        for path in (Path(folder), *(Path(folder, name) for name in (*folders, *files))):
            copy, facts = target / path.relative_to(source), path.lstat()
            if os.path.lexists(copy):
                os.chown(copy, facts.st_uid, facts.st_gid, follow_symlinks=False)
                if not copy.is_symlink():
                    copy.chmod(stat.S_IMODE(facts.st_mode))  # a change of owner takes some bits away


def _exchange(folder: Path, copy: Path, old: Path) -> None:
    """Put a copy in a folder's place. Raises HarnessError; then all is as it was."""
    try:
        if os.path.lexists(folder):
            folder.rename(old)
        copy.rename(folder)
    except OSError as error:
        if os.path.lexists(old) and not os.path.lexists(folder):
            old.rename(folder)
        raise HarnessError(f"{folder} could not be put back: {error.strerror}") from error
