"""An engine whose index of pets has no documents."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from local import main

if __name__ == "__main__":
    address, data, folder = sys.argv[1:]
    less = Path(folder) / "less"
    shutil.copytree(data, less)
    (less / "pets.ndjson").write_text("", encoding="utf-8")
    main(address, str(less), folder)
