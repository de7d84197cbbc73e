"""``manage.py account USER...`` makes accounts as they are declared, whether they are there or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from serving import deploying
from serving.api import Refused
from serving.models import Application, Quota

if TYPE_CHECKING:
    from argparse import ArgumentParser

APPLICATION = "starter"
MODEL = "price"


class Command(BaseCommand):
    help = "Make accounts, or bring them to what is declared."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the words of the command."""
        parser.add_argument(
            "users", nargs="+", metavar="USER[=QUOTA]", help="a name, and how many deployments it may have"
        )
        parser.add_argument("--deploy", metavar="FILE", help="a model that they have from the start")

    def handle(self, *_: Any, users: list[str], deploy: str | None, **__: Any) -> None:
        """Do it."""
        for word in users:
            user, equals, written = word.partition("=")
            if not user or (equals and not (written.isascii() and written.isdecimal())):
                raise CommandError(f"{word!r} is no account: USER or USER=QUOTA was needed")
            quota = int(written or settings.VARIABLES.quota)
            account, made = User.objects.get_or_create(username=user)
            if made:
                account.set_unusable_password()
                account.save()
            Quota.objects.update_or_create(user=account, defaults={"deployments": quota})
            if deploy:
                try:
                    self._deploy(account, deploy)
                except Refused as error:
                    raise CommandError(str(error)) from error
            self.stdout.write(f"account {user}: {'made' if made else 'was there'}, quota {quota}")

    def _deploy(self, account: User, file: str) -> None:
        application, _ = Application.objects.get_or_create(owner=account, name=APPLICATION)
        model, _ = application.models.get_or_create(name=MODEL)
        there = model.versions.exclude(state="failed").filter(file=file).first()
        version = there or deploying.deploy(account, model, file, {})
        deploying.wake(version)
