"""``manage.py api_key USER`` prints a new API key of a user, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from serving.models import ApiKey

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Print a new API key of a user, or revoke one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the words of the command."""
        parser.add_argument("user")
        parser.add_argument("--revoke", metavar="PREFIX", help="the part of a key before its point")

    def handle(self, *_: Any, user: str, revoke: str | None, **__: Any) -> None:
        """Do it."""
        found = User.objects.filter(username=user).first()
        if found is None:
            raise CommandError(f"there is no user {user!r}: manage.py account {user}")
        if revoke is None:
            self.stdout.write(ApiKey.make(found))
        elif not ApiKey.objects.filter(user=found, prefix=revoke).delete()[0]:
            raise CommandError(f"{user!r} has no key that begins with {revoke!r}")
