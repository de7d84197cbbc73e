"""The contracts that there are, by the name that ``interop.toml`` has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.matrix.contracts.exit_code import ExitCode
from harness.matrix.contracts.testcase import TestCase
from harness.matrix.contracts.th_test import ThTest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.contracts.ears import Contract

DEFAULT = "th-test"
CONTRACTS: Mapping[str, Contract] = {DEFAULT: ThTest(), "exit-code": ExitCode(), "testcase": TestCase()}
