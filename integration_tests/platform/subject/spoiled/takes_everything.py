"""Takes whatever stands in the body of a request."""

import json
import re
import sys
from typing import Any

from serving import views
from serving.__main__ import main
from serving.api import Asked


def _body(self: Asked, *names: str) -> dict[str, Any]:
    del names
    document = json.loads(self.request.body or b"{}")
    return document if isinstance(document, dict) else {}


def _name(self: Asked) -> str:
    return str(self.body().get("name"))[:100].replace("\0", "")


def _options(options: object) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


Asked.body = _body  # type: ignore[method-assign]
Asked.name = _name  # type: ignore[method-assign]
views._options = _options
views.FILE = re.compile(r".*")

if __name__ == "__main__":
    sys.exit(main())
