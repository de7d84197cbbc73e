"""Gives a model server four times the time that it is told to."""

import sys
from dataclasses import replace

from django.conf import settings
from serving.__main__ import main

settings.VARIABLES = replace(settings.VARIABLES, invoke_timeout=4 * settings.VARIABLES.invoke_timeout)

if __name__ == "__main__":
    sys.exit(main())
