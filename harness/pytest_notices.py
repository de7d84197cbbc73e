"""Notices at the end of a pytest session: by the process that speaks to the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    import pytest

    from harness.config import Settings
    from harness.pytest_outcomes import Outcomes
    from harness.pytest_stacks import Stacks

_MOST = 20  # modules that cannot be collected
_REPEATS = ("lf", "failedfirst", "newfirst", "stepwise", "stepwise_skip", "collectonly")


class Notices:
    """What a session tells those who want to know; nothing is loaded where nobody is named."""

    def __init__(self, config: pytest.Config, stacks: Stacks, outcomes: Outcomes) -> None:
        self._config = config
        self._stacks = stacks
        self._outcomes = outcomes
        self._errors: list[tuple[str, str]] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that could not be collected."""
        if report.failed and len(self._errors) < _MOST:
            lines = [line for line in report.longreprtext.splitlines() if line.strip()]
            why = next((line for line in reversed(lines) if line.startswith("E ")), "".join(lines[-1:]))
            self._errors.append((report.nodeid, why.removeprefix("E ").strip()))

    def tell(self, code: int) -> None:
        """Tell how a session ended, where it used a stack or was asked for a system, and note what came of it.

        Args:
            code: its exit code.
        """
        settings = self._settings()
        if settings is None or not settings.notices.urls:
            return
        asked = settings.origins.get("system") == "command line" or settings.environ.get("HARNESS_SYSTEM")
        words = self.words(settings)
        if words is None or not (self._outcomes.concluded or asked):
            return
        from harness.notices.telling import Ended, tell  # noqa: PLC0415 - only where somebody is named

        folder = self._outcomes.folder
        ended = Ended(
            code,
            folder.path if folder else None,
            folder.facts if folder else {},
            folder.outcomes if folder else (),
            self._errors,
            words,
        )
        said = self._stacks.notices_said
        self._outcomes.notes += [line for line in tell(settings, ended) if line not in said]

    def _settings(self) -> Settings | None:
        try:
            return self._stacks.settings
        except HarnessError:  # which has been said
            return None

    def words(self, settings: Settings) -> str | None:
        """Return how a part of the suite was chosen, "" for all of it; None where it was chosen by earlier results."""
        option = self._config.option
        if any(getattr(option, name, False) for name in _REPEATS):
            return None
        args = [self._relative(word) for word in self._config.args]
        whole = self._config.args_source is not self._config.ArgsSource.ARGS
        if settings.system and [self._relative(str(settings.system.tests))] == args:
            whole = True
        words = [] if whole else args
        for flag, name in (("-k", "keyword"), ("-m", "markexpr")):
            if value := getattr(option, name, ""):
                words += [flag, str(value)]
        words += [f"--deselect={word}" for word in getattr(option, "deselect", None) or ()]
        return " ".join(words)

    def _relative(self, word: str) -> str:
        """Return an argument of pytest as it is from the project's folder."""
        path, colons, rest = word.partition("::")
        place = self._config.invocation_params.dir / path
        root = self._config.rootpath
        return f"{place.relative_to(root) if place.is_relative_to(root) else place}{colons}{rest}"
