"""``python local.py HOST:PORT DATA FOLDER``: become a search engine in memory that holds the documents of ``DATA``.

``DATA`` is what the image of the engine is made with: of each index ``NAME.json`` (settings and mappings) and
``NAME.ndjson`` (one document a line, with its ``_id``). ``FOLDER`` gets them as this engine reads them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import osmem_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def _actions(documents: Path) -> Iterator[str]:
    for line in documents.read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        yield json.dumps({"index": {"_id": document.pop("_id")}})
        yield json.dumps(document, ensure_ascii=False)


def prepare(data: Path, folder: Path) -> Path:
    """Write the indices of ``data`` into ``folder`` as a seed of osmem-server, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    for definition in sorted(data.glob("*.json")):
        (folder / f"{definition.stem}.index.json").write_text(definition.read_text(encoding="utf-8"), encoding="utf-8")
        documents = definition.with_suffix(".ndjson")
        if lines := "".join(f"{line}\n" for line in _actions(documents)):
            (folder / documents.name).write_text(lines, encoding="utf-8")
    return folder


def main(address: str, data: str, folder: str) -> None:
    """Become the engine. What it is a child of holds its standard input: it ends when that is gone."""
    program = osmem_server.resolve_binary()
    seed = prepare(Path(data), Path(folder) / "seed")
    os.execv(program, [program, "-no-ja", "-addr", address, "-seed", str(seed)])  # noqa: S606 - it takes our place


if __name__ == "__main__":
    main(*sys.argv[1:])
