"""The texts of files that an adoption writes, or adds something to."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIXTURE = "_services_are_up"  # fixtures that are used by themselves come in the order of their names
_WIDTH = 100
_BODY = f'''@pytest.fixture(scope="session", autouse=True)
def {FIXTURE}(stack):
    """The services of {{compose}}: started, ready and seeded before the first test, gone after the last."""
'''


class Instead(list[Any]):
    """A list that takes the place of the Compose file's, which Compose would add it to."""


def overlay(name: str, services: Mapping[str, Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return an overlay of the Compose file ``name`` with more of its services, and seeds of the stack."""
    lines = [
        f"# What the harness needs to know of {name}, which it lays this over: [tool.harness.overlays], pyproject.toml."
    ]
    if seeds:
        lines += ["x-harness:", "  seed:", *(f"    - {_flow(seed)}" for seed in seeds)]
    if services:
        lines += ["services:"]
    for service, table in services.items():
        lines += [f"  {service}:"]
        for key, value in table.items():
            lines += [f"    {key}:", *_block(value, 6)] if key == "x-harness" else [f"    {key}: {_flow(value)}"]
    return "\n".join(lines) + "\n"


def _block(table: Mapping[str, Any], indent: int) -> list[str]:
    """Return a table in lines, each value in one, but for a table that would be a long one."""
    lines = []
    for key, value in table.items():
        line = f"{' ' * indent}{key}: {_flow(value)}"
        long = isinstance(value, dict) and len(line) > _WIDTH
        lines += [f"{' ' * indent}{key}:", *_block(value, indent + 2)] if long else [line]
    return lines


def _flow(value: object) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, Instead):
        return f"!override {_flow(list(value))}" if value else "!reset []"
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True).strip()


def pyproject(text: str, keys: Mapping[str, str], tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return pyproject.toml with keys of ``[tool.harness]`` and its tables added, whatever is there already left."""
    head = "[tool.harness]"
    added = "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())
    match = re.search(r"^\[tool\.harness\][^\n]*\n?", text, re.MULTILINE)
    if match and added:
        text = text[: match.end()].rstrip("\n") + "\n" + added + text[match.end() :]
        added = ""
    blocks = [f"{head}\n{added}"] if added else []
    for table, values in tables.items():
        lines = [f"{_key(name)} = {_toml(value)}" for name, value in values.items()]
        if there := re.search(rf"^\[tool\.harness\.{re.escape(table)}\][^\n]*\n?", text, re.MULTILINE):
            text = "\n".join([text[: there.end()].rstrip("\n"), *lines, text[there.end() :]])
            continue
        blocks.append("\n".join([f"[tool.harness.{table}]", *lines, ""]))
    return "\n".join([*([text.rstrip() + "\n"] if text.strip() else []), *blocks])


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name) else _toml(name)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def conftest(text: str, compose: str) -> str:
    """Return conftest.py with the fixture at its end, and with ``import pytest`` among its imports."""
    body = _BODY.replace("{compose}", compose)
    if not text.strip():
        return f'"""Fixtures of the tests."""\n\nimport pytest\n\n\n{body}'
    if not re.search(r"^import pytest$", text, re.MULTILINE):
        lines = text.splitlines(keepends=True)
        at = _before_imports(text)
        text = "".join([*lines[:at], "import pytest\n", *(["\n"] if at == len(lines) else []), *lines[at:]])
    return f"{text.rstrip()}\n\n\n{body}"


def _before_imports(text: str) -> int:
    """Return the number of lines that stand before the first import, without those of ``__future__``."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return 0
    end = 0
    for statement in body:
        is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if (isinstance(statement, ast.ImportFrom) and statement.module == "__future__") or (is_docstring and not end):
            end = statement.end_lineno or 0
        else:
            return statement.lineno - 1
    return end


def gitignore(text: str, lines: Sequence[str]) -> str:
    """Return .gitignore with lines added that it does not have, in any usual spelling."""
    there = {line.strip().strip("/") for line in text.splitlines()}
    added = [line for line in lines if line.strip("/") not in there and f"{line.strip('/')}/*" not in there]
    if not added:
        return text
    return (text.rstrip("\n") + "\n" if text.strip() else "") + "".join(f"{line}\n" for line in added)
