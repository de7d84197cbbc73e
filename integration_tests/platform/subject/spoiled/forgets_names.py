"""Forgets the names of its model servers when it is started again, and so leaves these."""

import sys

from serving.__main__ import main
from serving.models import Version

Version.objects.update(instance="")

if __name__ == "__main__":
    sys.exit(main())
