"""Platforms that are wrong, or odd and right, on purpose: ``python -m spoiled.NAME``.

Django is set up here, so that each can change what it has imported.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serving.settings")
django.setup()
