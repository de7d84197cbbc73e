"""Counts deployments that failed as if they were there."""

import sys

from django.contrib.auth.models import User
from serving import deploying
from serving.__main__ import main
from serving.models import Version


def _deployed(user: User) -> int:
    return int(Version.objects.filter(model__application__owner=user).count())


deploying._deployed = _deployed

if __name__ == "__main__":
    sys.exit(main())
