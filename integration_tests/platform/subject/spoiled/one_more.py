"""Gives one deployment more than the quota says."""

import sys

from django.contrib.auth.models import User
from serving import deploying
from serving.__main__ import main

_right = deploying._deployed


def _deployed(user: User) -> int:
    return max(_right(user) - 1, 0)


deploying._deployed = _deployed

if __name__ == "__main__":
    sys.exit(main())
