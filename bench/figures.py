"""The figures: which there are, what they need, and how one is measured without harm to the others."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pkgutil
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from harness.daemon import ask, find_daemon
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from bench.series import Series

QUICK = 5  # a quick run has a fifth of the rounds
EMBEDDED = ("noida_db", "osmem_server", "pvxslibs")  # what the processes of the embedded engine come from


@dataclass(frozen=True)
class Figure:
    """Something that is measured, in ways that take turns.

    Attributes:
        name: of its module.
        title: what it is, for people.
        needs: ``engine``, ``embedded`` or nothing.
        rounds: how many are measured, unless somebody says otherwise.
        limits: what keeps it from being faster.
        measure: takes the number of rounds, a folder of its own, and what says how it goes on.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    rounds: int
    limits: str
    measure: Callable[[int, Path, Callable[[str], None]], list[Series]]


@dataclass(frozen=True)
class Measured:
    """What came of a figure.

    Attributes:
        figure: which.
        rounds: that it was asked for.
        series: what it gave.
        failed: why it gave nothing, "" when it did.
    """

    figure: Figure
    rounds: int
    series: tuple[Series, ...]
    failed: str = ""

    @property
    def complete(self) -> bool:
        """Whether all of it could be measured."""
        return not self.failed and bool(self.series) and not any(one.failed for one in self.series)


def find_figures() -> dict[str, Figure]:
    """Return the figures by name: the modules beside this one that have a ``measure``."""
    names = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if module.name != "__main__")
    found = (_load(name) for name in names)
    return {one.name: one for one in found if one}


def _load(name: str) -> Figure | None:
    try:
        module = import_module(f"{bench.__name__}.{name}")
    except ImportError as error:
        return _broken(name, error)
    return _figure(name, module) if hasattr(module, "measure") else None


def _figure(name: str, module: ModuleType) -> Figure:
    return Figure(name, module.TITLE, module.NEEDS, module.ROUNDS, module.LIMITS, module.measure)


def _broken(name: str, error: ImportError) -> Figure:
    """Return a figure that fails by what kept its module from being loaded: others are measured all the same."""

    def fail(_rounds: int, _scratch: Path, _say: Callable[[str], None]) -> list[Series]:
        raise error

    return Figure(name, name, (), 1, "", fail)


def unmet(needs: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """Return why a figure with these needs cannot be measured here, "" when it can."""
    if "engine" in needs:
        try:
            ask(find_daemon(environ))
        except HarnessError as error:
            return error.summary
    if "embedded" in needs:
        absent = [name for name in EMBEDDED if importlib.util.find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} of the extra 'embedded' is not installed"
    return ""


def run(figure: Figure, rounds: int, say: Callable[[str], None]) -> Measured:
    """Measure a figure. Whatever it raises, and whatever it changes of this process, stays with it."""
    series: list[Series] = []
    try:
        with _restored(), tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
            series = figure.measure(rounds, Path(scratch), say)
    except Exception as error:  # noqa: BLE001 - one figure's failure must not hide the others
        raise_interrupt_behind(error)
        return Measured(figure, rounds, tuple(series), in_a_line(error))
    return Measured(figure, rounds, tuple(series), "" if series else "it gave no series")


def raise_interrupt_behind(error: Exception) -> None:
    """Raise what ended the work, when ``error`` only came of cleaning up after a signal: that was no failure."""
    behind: BaseException | None = error
    while behind:
        if not isinstance(behind, Exception):
            raise behind
        behind = behind.__cause__ or behind.__context__


def in_a_line(error: BaseException) -> str:
    """Return an error's kind and its first line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    environ, folder = dict(os.environ), Path.cwd()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
