"""The report of unit tests that a stage of a build runs: got out of that stage, also when they failed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.clock import Deadline
from harness.daemon import in_words
from harness.engine.compose.hands import COPY_BUDGET, copy_within
from harness.errors import HarnessError
from harness.ownership.objects import STACK, sealed

if TYPE_CHECKING:
    from harness.engine.driver import Place
    from harness.engine.plan import UnitTests

FOLDER = "unit-tests"
_LONGEST = 200


@dataclass(frozen=True)
class Results:
    """How unit tests ended.

    Attributes:
        total: how many ran, without those that were skipped.
        failed: those that failed or could not run: name, and the first line of the reason.
    """

    total: int
    failed: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.failed:
            return f"{self.total} unit test{'' if self.total == 1 else 's'} passed"
        name, why = self.failed[0]
        return f"{len(self.failed)} of {self.total} unit tests failed: {name}{f', {why}' if why else ''}"


def read(document: bytes) -> Results | None:
    """Return what a JUnit report says, None where it is none."""
    from junitparser import Error, Failure, JUnitXml, JUnitXmlError, Skipped  # noqa: PLC0415 - with a report only

    try:
        parsed: Any = JUnitXml.fromstring(document)
        suites = [parsed] if type(parsed).__name__ == "TestSuite" else list(parsed)
        cases: list[Any] = [case for suite in suites for case in suite]  # with those of the suites in it
    except (JUnitXmlError, ValueError, SyntaxError, TypeError):
        return None
    ran = [case for case in cases if not any(isinstance(result, Skipped) for result in case.result)]
    failed = []
    for case in ran:
        bad = next((result for result in case.result if isinstance(result, (Failure, Error))), None)
        if bad is not None:
            words = str(bad.message or bad.text or "").strip().splitlines()
            failed.append((str(case.name), words[0][:_LONGEST] if words else ""))
    return Results(len(ran), tuple(failed))


def _meant(client: Any, container: str, path: str) -> str:  # noqa: ANN401 - as in ``fetch``
    """Return where a path of a container leads: a link alone is not copied. Raises HarnessError: there is none."""
    with in_words(path):
        chunks, facts = client.get_archive(container, path)
        chunks.close()
    return str(facts.get("linkTarget") or path)


def fetch(place: Place, stack: str, service: str, image: str, tests: UnitTests) -> Path | None:
    """Copy a report out of the image of its stage into the run's folder; return where it is, None when there is none.

    A container of that image is created for it, which is never started, and removed.

    Raises:
        HarnessError: the engine refused or does not answer.
    """
    client: Any = place.client  # its stubs leave out what is asked for here
    facts = place.link.facts
    name = f"harness-{place.env}-{stack}-{service}-unit-tests".lower()
    labels = {**facts["labels"], STACK: stack}
    with in_words(f"Unit tests of service {service!r}"):
        made = client.create_container(
            image, ["-"], name=name, labels=sealed(labels, facts["key"], "container", name), network_disabled=True
        )["Id"]
    target = place.report.path / FOLDER / f"{service}.xml"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_within(client, made, _meant(client, made, tests.report), target, Deadline.after(COPY_BUDGET))
        return target if target.is_file() else None  # a folder is no report
    except (HarnessError, OSError):
        return None
    finally:
        with contextlib.suppress(HarnessError), in_words(f"Unit tests of service {service!r}"):
            client.remove_container(made, v=True, force=True)
