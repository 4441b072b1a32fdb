"""Settings of the site: relational tables in memory, for the staff's accounts, and the table in the embedded engine."""

from __future__ import annotations

from pathlib import Path

DEBUG = True
SECRET_KEY = "of a site that only tests see"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.djangosite.urls"
TEST_RUNNER = "tests.djangosite.runner.Runner"
USE_TZ = True
INSTALLED_APPS = [
    "mlssocial.django",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MLSSOCIAL = {
    "TABLE_NAME": "homes",
    "ENDPOINT_URL": "local:",
    "TOKEN_KEYS": {"k1": "bWxzc29jaWFsLCBhIGtleSB0aGF0IHRlc3RzIHVzZSE="},
}
