"""The JSON Schema of ``report.json``, made from the values that it is written from."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import TypeAdapter

from harness.matrix.verdicts import Verdict
from harness.reporting.interop import report as values

_ENTRY = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.MULTILINE)
_VALUES = (
    values.Report,
    values.CellReport,
    values.Expectation,
    values.ImplementationReport,
    values.TestReport,
    values.Finding,
    values.Bounds,
    Verdict,
)


def report_schema(dialect: str) -> dict[str, Any]:
    """Return the schema, in a dialect of JSON Schema; every key is there in each report, and there are no others."""
    document = TypeAdapter(values.Report).json_schema(ref_template="#/$defs/{model}", mode="serialization")
    definitions = document.pop("$defs")
    shapes = {**definitions, "Report": document}
    for value in _VALUES:
        _describe(shapes[value.__name__], value)
    document["properties"]["schema_version"] = {**document["properties"]["schema_version"], "const": 1}
    title = {"title": "report.json of an interoperability matrix"}
    return {"$schema": dialect, **document, **title, "$defs": definitions}


def _describe(shape: dict[str, Any], value: type) -> None:
    """Put what a value's docstring says into its schema."""
    about = inspect.getdoc(value) or ""
    shape["description"] = about.partition("\n")[0]
    shape["additionalProperties"] = False
    shape["required"] = sorted(shape["properties"])
    _, _, entries = about.partition("Attributes:\n")
    for name, text in _ENTRY.findall(entries):
        shape["properties"][name]["description"] = " ".join(text.split())
    for entry in shape["properties"].values():
        entry.pop("default", None)
        entry.pop("title", None)
