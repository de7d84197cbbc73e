"""Forgets what was deployed when it is started again."""

import sys

from serving.__main__ import main
from serving.models import Version

Version.objects.all().delete()

if __name__ == "__main__":
    sys.exit(main())
