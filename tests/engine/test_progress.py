"""What builds say of their steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.engine.compose.progress import LONGEST, followed, step_of

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
