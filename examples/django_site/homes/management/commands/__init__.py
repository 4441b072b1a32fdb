"""``manage.py fill``."""
