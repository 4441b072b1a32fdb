"""``manage.py mlssocial``, ``mlssocial_init`` and ``shell``."""
