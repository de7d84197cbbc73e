"""``manage.py api_key USER...`` prints a new API key of each user, a line each, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from serving.models import ApiKey

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Print a new API key of each user, or revoke keys of theirs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the words of the command."""
        parser.add_argument("users", nargs="+", metavar="USER")
        parser.add_argument("--revoke", nargs="+", metavar="PREFIX", help="the part of a key before its point")

    def handle(self, *_: Any, users: list[str], revoke: list[str] | None, **__: Any) -> None:
        """Do it."""
        found = {user.username: user for user in User.objects.filter(username__in=users)}
        for name in users:
            if name not in found:
                raise CommandError(f"there is no user {name!r}: manage.py account {name}")
        for prefix in revoke or ():
            if not ApiKey.objects.filter(user__in=found.values(), prefix=prefix).delete()[0]:
                raise CommandError(f"{', '.join(users)}: there is no key that begins with {prefix!r}")
        if revoke is None:
            for name in users:
                self.stdout.write(ApiKey.make(found[name]))
