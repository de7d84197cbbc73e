"""What builds say of their steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts import Step
from harness.engine.compose.progress import LONGEST, followed, step_of
from harness.pytest_workers import Voice, Workers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Step 3/7 : RUN  make   all", "[3/7] RUN make all"),
        ("STEP 2/4: COPY . /", "[2/4] COPY . /"),
        ("#7 [build 2/5] RUN make", "[build 2/5] RUN make"),
        ("#7 [2/5] FROM x", "[2/5] FROM x"),
        ("#7 0.312 [2/5] of its own", ""),
        (" ---> 0123456789ab", ""),
        ("#7 CACHED", ""),
        ("Step 5/6 : LABEL harness.checkout=0123", ""),
    ],
)
def test_a_step_is_one_line_whoever_builds(line: str, told: str) -> None:
    """The beginning of a step must be told alike of every builder, and nothing that a command says."""
    assert step_of(line) == told


def test_a_long_step_is_cut() -> None:
    """A command of many words must not fill a screen."""
    assert len(step_of(f"Step 1/2 : RUN {'x' * 1000}")) == LONGEST


def test_steps_are_told_once_and_from_now_on(tmp_path: Path) -> None:
    """What a log had before must not be told, what it gets must be, and its last step too."""
    log = tmp_path / "build.log"
    log.write_text("Step 1/2 : FROM x\n")
    told: list[str] = []
    with followed(log, told.append), log.open("a") as file:
        file.write("Step 1/1 : FROM y\nStep 1/1 : FROM y\nStep 2/2 : RUN z\n")
    assert told == ["[1/1] FROM y", "[2/2] RUN z"]
    assert all(isinstance(line, Step) for line in told)


@pytest.mark.parametrize(
    ("options", "early", "shown"),
    [
        ({"verbose": 0}, {"verbose": 0}, ["building x", "[1/1] FROM y"]),
        ({"verbose": 1}, {"verbose": 1}, ["building x", "[1/1] FROM y"]),
        ({"verbose": -1}, {"verbose": -1}, ["building x"]),
        ({}, {"verbose": -2}, ["building x"]),
    ],
)
@pytest.mark.parametrize("is_worker", [False, True])
def test_a_quiet_pytest_shows_no_steps(
    options: dict[str, int], early: dict[str, int], shown: list[str], capsys: Any, *, is_worker: bool
) -> None:
    """With -q what is built must be told and its steps must not; a worker sends plain texts, as execnet wants them."""
    config: Any = SimpleNamespace(
        option=SimpleNamespace(**options),
        known_args_namespace=SimpleNamespace(**early),
        pluginmanager=SimpleNamespace(getplugin=lambda _: None),
        **({"workerinput": {}} if is_worker else {}),
    )
    voice = Voice(config, Workers())
    voice.say("building x")
    voice.say(Step("[1/1] FROM y"))
    if is_worker:
        assert (voice.lines, {type(line) for line in voice.lines}) == (shown, {str})
    else:
        assert capsys.readouterr().out.splitlines() == [f"harness: {line}" for line in shown]
