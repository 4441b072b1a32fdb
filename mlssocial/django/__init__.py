"""
The table in a Django site: ``INSTALLED_APPS = ["mlssocial.django"]`` and ``MLSSOCIAL = {"TABLE_NAME": "homes"}``.

Django 4.2 and later. No relational database is needed. It delegates to the package, and nothing imports it.
"""

from importlib.util import find_spec

if find_spec("django") is None:
    raise ImportError("mlssocial.django needs Django: pip install 'mlssocial[django]'")
