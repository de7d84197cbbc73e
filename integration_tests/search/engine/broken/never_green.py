"""An engine that misses a copy of its shards, for which there is no second node."""

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from local import main

if __name__ == "__main__":
    address, data, folder = sys.argv[1:]
    copies = Path(folder) / "copies"
    shutil.copytree(data, copies)
    pets = json.loads((copies / "pets.json").read_text(encoding="utf-8"))
    pets["settings"]["number_of_replicas"] = 1
    (copies / "pets.json").write_text(json.dumps(pets), encoding="utf-8")
    main(address, str(copies), folder)
