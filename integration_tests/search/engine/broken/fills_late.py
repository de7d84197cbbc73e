"""An engine that answers, green, and has its documents three seconds later."""

import http.client
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from local import main, prepare

SECONDS = 3.0


def fill(address: str, seed: Path) -> None:
    """Write what there is into the engine, when it was looked at for a while."""
    threading.Event().wait(SECONDS)
    for documents in sorted(seed.glob("*.ndjson")):
        connection = http.client.HTTPConnection(address, timeout=10)
        headers = {"Content-Type": "application/x-ndjson"}
        connection.request("POST", f"/{documents.stem}/_bulk?refresh=true", documents.read_bytes(), headers)
        connection.getresponse().read()
        connection.close()


if __name__ == "__main__":
    address, data, folder = sys.argv[1:]
    empty = Path(folder) / "empty"
    empty.mkdir()
    for file in Path(data).iterdir():
        (empty / file.name).write_text(file.read_text(encoding="utf-8") if file.suffix == ".json" else "", "utf-8")
    if os.fork():
        main(address, str(empty), folder)
    fill(address, prepare(Path(data), Path(folder) / "late"))
