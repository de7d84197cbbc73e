"""``manage.py rows`` prints how many rows each table has, as JSON."""

from __future__ import annotations

import json
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Print how many rows each table has."

    def handle(self, *_: Any, **__: Any) -> None:
        """Do it."""
        counts = {model._meta.db_table: model.objects.count() for model in apps.get_models()}  # noqa: SLF001 - Django's documented API
        self.stdout.write(json.dumps(counts))
