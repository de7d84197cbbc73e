"""Writes the tables of docs/tasks.md (options) and docs/compose-keys.md (Compose's keys): ``python docs/tables.py``.

The tables that it is made from are ``harness.config.options`` and ``harness.engine.keys``.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.config.options import OPTIONS, TAKERS, variable
from harness.engine.keys import KEYS, Verdict

PAGE = Path(__file__).parent / "tasks.md"
KEYS_PAGE = Path(__file__).parent / "compose-keys.md"
_BETWEEN = r"(<!-- {name}: .*? -->\n).*?(<!-- end -->)"


def _flags() -> list[tuple[str, ...]]:
    takers = {name: [task for task, names in TAKERS.items() if name in names and task != "pytest"] for name in OPTIONS}
    rows = [
        (f"`--{name.replace('_', '-')}`", f"`{' '.join(tasks)}`", OPTIONS[name].help)
        for name, tasks in takers.items()
        if tasks
    ]
    return [("flag", "of", "means"), *rows]


def _settings() -> list[tuple[str, ...]]:
    rows = [
        (
            f"`{option.key}`" if option.key else "none",
            f"`{variable(name)}`",
            f"`{option.default}`" if option.default else "none",
            ", ".join(f"`{value}`" for value in option.valid),
        )
        for name, option in OPTIONS.items()
        if name != "local"  # of a command line only
    ]
    return [("`[tool.harness]`", "variable", "default", "valid"), *rows]


def with_tables(page: str) -> str:
    """Return the page with what the table of options gives now between its markers."""
    for name, (head, *rows) in (("flags", _flags()), ("settings", _settings())):
        lines = ["".join(f"| {cell} " for cell in row) + "|\n" for row in (head, *rows)]
        table = "".join([lines[0], "|---" * len(head) + "|\n", *lines[1:]])
        page = re.sub(_BETWEEN.format(name=name), rf"\g<1>{table}\g<2>", page, flags=re.DOTALL)
    return page


def _cell(verdict: Verdict) -> str:
    way = f" (`allow: [{verdict.allow}]`)" if verdict.allow else ""
    return f"{verdict.fate}{way}{': ' if verdict.why else ''}{verdict.why}"


def with_keys(page: str) -> str:
    """Return the page with what the table of Compose's keys gives now between its markers."""
    for kind in dict.fromkeys(key.kind for key in KEYS):
        rows = sorted((key.name, _cell(key.container), _cell(key.process)) for key in KEYS if key.kind == kind)
        lines = [f"| `{name}` | {container} | {process} |\n" for name, container, process in rows]
        table = "".join([f"| {kind} | containers | local processes |\n|---|---|---|\n", *lines])
        page = re.sub(_BETWEEN.format(name=kind), rf"\g<1>{table}\g<2>", page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    KEYS_PAGE.write_text(with_keys(KEYS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
