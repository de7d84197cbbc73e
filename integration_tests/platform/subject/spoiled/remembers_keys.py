"""Remembers whose a key is, and looks no more."""

import sys
from functools import cache

from serving.__main__ import main
from serving.models import ApiKey

ApiKey.owner = cache(ApiKey.owner)  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
