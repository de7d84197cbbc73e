"""What the database holds."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from django.contrib.auth.models import User
from django.db import models

NAME_LENGTH = 100


class ApiKey(models.Model):
    """A key of a user. Only a digest of it is kept: it is random, and so long that nobody guesses it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="keys")
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    created = models.DateTimeField(auto_now_add=True)

    @classmethod
    def make(cls, user: User) -> str:
        """Return a new key of a user; this is the only time that it can be told."""
        prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        cls.objects.create(user=user, prefix=prefix, digest=_digest(secret))
        return f"{prefix}.{secret}"

    @classmethod
    def owner(cls, key: str) -> User | None:
        """Return whose key it is, None where it is nobody's."""
        prefix, _, secret = key.partition(".")
        if not prefix.isascii() or not prefix.isalnum():
            return None
        found = cls.objects.select_related("user").filter(prefix=prefix).first()
        return found.user if found and hmac.compare_digest(found.digest, _digest(secret)) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class Quota(models.Model):
    """How many deployments a user may have."""

    user = models.OneToOneField(User, models.CASCADE)
    deployments = models.PositiveIntegerField()


class Application(models.Model):
    """What a user groups models by."""

    owner = models.ForeignKey(User, models.CASCADE, related_name="applications")
    name = models.CharField(max_length=NAME_LENGTH)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="application_name")]

    def told(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        return {"id": self.pk, "name": self.name, "models": [model.told() for model in self.models.order_by("pk")]}


class Model(models.Model):
    """A model of an application; it has versions, one of which is live."""

    application = models.ForeignKey(Application, models.CASCADE, related_name="models")
    name = models.CharField(max_length=NAME_LENGTH)
    live = models.ForeignKey("Version", models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["application", "name"], name="model_name")]

    def told(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        versions = [version.told() for version in self.versions.order_by("number")]
        live = next((version["number"] for version in versions if version["id"] == self.live_id), None)
        return {"id": self.pk, "name": self.name, "live": live, "versions": versions}


class Version(models.Model):
    """A deployed version of a model: the file, and the model server that has loaded it."""

    class State(models.TextChoices):
        """What its model server is doing."""

        DEPLOYING = "deploying"
        RUNNING = "running"
        ASLEEP = "asleep"
        CRASHED = "crashed"
        FAILED = "failed"

    model = models.ForeignKey(Model, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    file = models.CharField(max_length=NAME_LENGTH)
    options = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=State, default=State.DEPLOYING)
    reason = models.TextField(default="")
    instance = models.CharField(max_length=40, default="")
    url = models.CharField(max_length=200, default="")
    log = models.TextField(default="")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="version_number")]

    def told(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        return {
            "id": self.pk,
            "number": self.number,
            "file": self.file,
            "options": self.options,
            "state": self.state,
            "reason": self.reason,
            "instance": self.instance,
        }
