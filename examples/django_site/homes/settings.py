"""Settings. There is no relational database; the table is in the embedded engine, in homes.db, unless the environment says."""

from __future__ import annotations

import os
from pathlib import Path

SITE = Path(__file__).parents[1]

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "for development alone")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost 127.0.0.1").split()
INSTALLED_APPS = ["mlssocial.django", "homes"]
DATABASES: dict[str, object] = {}
ROOT_URLCONF = "homes.urls"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"  # of which there are none; the tests' server asks
USE_TZ = True

MLSSOCIAL: dict[str, object] = {}
if "MLSSOCIAL_TABLE_NAME" not in os.environ:
    MLSSOCIAL["ENDPOINT_URL"] = f"local:{SITE / 'homes.db'}"
