"""Write the contract's table into the documentation, from runs of the suite.

``python -m integration_tests.search_engine.table [--write FILE] RUN ...``, as that of the broker contract.
"""

from __future__ import annotations

import sys

from integration_tests.broker.table import About, main
from integration_tests.search_engine.candidates import EMBEDDED, HERE, NOTES

ENGINES = About("engine", HERE / "tests", NOTES, EMBEDDED, "integration_tests.search_engine.table")

if __name__ == "__main__":
    sys.exit(main(about=ENGINES))
