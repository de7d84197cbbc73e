"""The platform's management commands: ``python manage.py migrate``, ``account``, ``api_key``."""

from __future__ import annotations

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError, NotSupportedError
from serving.database import migration_of, words_of

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serving.settings")
    try:
        execute_from_command_line(sys.argv)
    except (DatabaseError, NotSupportedError, ImproperlyConfigured) as error:
        migration = migration_of(error)
        words = f"migration {migration} failed: {' '.join(str(error).split())}" if migration else words_of(error)
        sys.exit(f"manage.py {' '.join(sys.argv[1:2])}: {words}")
