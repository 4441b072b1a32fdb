"""
The table in a Django site: ``INSTALLED_APPS = ["mlssocial.django"]`` and ``MLSSOCIAL = {"TABLE_NAME": "homes"}``.

Django 4.2 and later. No relational database is needed. It delegates to the package, and nothing imports it.
"""

from __future__ import annotations

from mlssocial.exceptions import MissingExtraError

try:
    import django as _django  # noqa: F401  to say which extra it is that is missing
except ImportError:
    raise MissingExtraError("mlssocial.django", "Django", "django") from None
