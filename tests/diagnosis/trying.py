"""A fault is planted in a project of its own, a command runs into it, and its words are kept."""

from __future__ import annotations

import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import places
import yaml
from projects import Project, run_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from faults import Fault
    from fresh import Starter

    from harness import procs

AT_ONCE = 6
"""Faults that are tried side by side: most of them wait for a deadline most of the time."""

AHEAD = 2 * AT_ONCE
BUDGET = 60.0
HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


@dataclass(frozen=True)
class Case:
    """A fault on an engine."""

    fault: Fault
    engine: str

    def __str__(self) -> str:
        return f"{self.fault.name} [{self.engine}]"


class Plot(Project):
    """A project with a fault."""

    def __init__(self, folder: Path, case: Case, image: str) -> None:
        root, state = folder / "project", folder / "state"
        root.mkdir()
        state.mkdir(mode=0o700)
        super().__init__(root, state)
        self.environ |= {"HARNESS_ENGINE": case.engine, **case.fault.environ}
        fault = case.fault
        texts = dict(fault.files)
        table = texts.pop("pyproject.toml", "")
        (root / "pyproject.toml").write_text(f"[tool.harness]\n{table}")
        stack = {"name": "s", **fault.top, "services": fault.services}
        texts["compose/s.yaml"] = fault.text or yaml.safe_dump(stack, sort_keys=False)
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("IMAGE", image))


@dataclass(frozen=True)
class Told:
    """What a command said of a fault.

    Attributes:
        code: its exit code.
        first: the first line of its error.
        text: all that it wrote.
        root: the checkout.
    """

    code: int | None
    first: str
    text: str
    root: str


def try_out(case: Case, folder: Path, image: str, starter: Starter) -> Told:
    """Have a command run into a fault."""
    project = Plot(folder, case, image)
    project.starter = starter
    with getattr(places, case.fault.place or "nothing")(project):
        done = run_in(project, *HARNESS, *case.fault.argv, timeout=BUDGET)
    return Told(done.code, first_line_of(done, case), f"{done.stdout}{done.stderr}", os.fspath(project.root))


def first_line_of(done: procs.Finished, case: Case) -> str:
    """Return the first line of the error: of a task behind its notes, of a test behind pytest's own head of it."""
    if case.fault.argv[0] == "test" and "short test summary" in done.stdout:
        lines = done.stdout.splitlines()
        if raised := [
            line for line in lines if re.match(r"E   .*[A-Za-z]", line)
        ]:  # a test that failed, with its traceback
            return raised[0].removeprefix("E   ").strip().removeprefix("harness.errors.ConfigError: ")
        head = next(at for at, line in enumerate(lines) if line.startswith("____"))
        return next(line for line in lines[head + 1 :] if line.strip())
    return next((line for line in done.stderr.splitlines() if not line.startswith("harness: ")), "")


class Trials:
    """Tries cases out some ahead of the test that asks for them, in the order of the tests."""

    def __init__(
        self, cases: Sequence[Case], make_folder: Callable[[str], Path], image: Callable[[], str], starter: Starter
    ) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fault")
        self._todo: Iterator[Case] = iter(cases)
        self._futures: dict[str, Future[Told]] = {}
        self._make_folder = make_folder
        self._image = image
        self._starter = starter

    def ask(self, case: Case) -> Told:
        """Return what was said of a case; begin with those that come after it."""
        while str(case) not in self._futures or sum(not future.done() for future in self._futures.values()) < AHEAD:
            following = next(self._todo, None)
            if following is None:
                break
            image = self._image() if following.engine == "compose" else "actor"
            folder = self._make_folder("fault")
            self._futures[str(following)] = self._pool.submit(try_out, following, folder, image, self._starter)
        return self._futures[str(case)].result()

    def close(self) -> None:
        """Wait for what was begun."""
        self._pool.shutdown(cancel_futures=True)


def items_of(session: Any) -> list[Case]:
    """Return the cases that this session is going to ask for, in its order."""
    wanted = (getattr(item, "callspec", _NO).params.get("case") for item in session.items)
    return [case for case in wanted if isinstance(case, Case)]


class _NO:
    params: dict[str, object] = {}  # noqa: RUF012 - never written to
