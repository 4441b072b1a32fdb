"""A Django site whose tests, in promises.py, ``tests/test_django.py`` runs in a process of their own."""
