"""The exit-code table."""

from __future__ import annotations

import pytest

from harness.results import exit_code


@pytest.mark.parametrize(
    ("causes", "code"),
    [
        ({}, 0),
        ({"pytest_code": 5}, 5),
        ({"failed": True, "broken": True, "leftover": True}, 1),
        ({"configuration": True, "failed": True}, 10),
        ({"unreachable": True, "failed": True}, 11),
        ({"broken": True, "leftover": True}, 12),
        ({"leftover": True}, 14),
        ({"signal_number": 15, "configuration": True}, 143),
    ],
)
def test_the_first_cause_that_applies_is_the_exit_code(causes: dict[str, int], code: int) -> None:
    """The exit code must be that of the first cause in the documented order."""
    given = {"pytest_code": 0, **causes}
    assert exit_code(**given) == code  # type: ignore[arg-type]
