"""Django's settings."""

from __future__ import annotations

import os
import secrets

from django.core.exceptions import ImproperlyConfigured

from serving.variables import BadVariableError, read_variables

try:
    VARIABLES = read_variables(os.environ)
except BadVariableError as error:
    raise ImproperlyConfigured(str(error)) from error

SECRET_KEY = secrets.token_urlsafe(32)  # nothing is signed that outlives a process
DEBUG = False
ALLOWED_HOSTS = ["*"]  # no answer depends on the name that was asked for
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "serving"]
MIDDLEWARE = ["serving.access.log_requests"]
ROOT_URLCONF = "serving.urls"
APPEND_SLASH = False
DATABASES = {"default": VARIABLES.database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes of a request

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"}},
    "root": {"handlers": ["stdout"], "level": "INFO"},
    "loggers": {"django.request": {"level": "ERROR"}},  # what a client does wrong is in its request's line
}
