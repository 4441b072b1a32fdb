"""``manage.py fill``: something to look at."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

import mlssocial
from mlssocial.reso import demo_page, import_feed


class Command(BaseCommand):
    """Makes the table and imports the listings that mlssocial ships; doing it again changes nothing."""

    help = "Makes the table, and imports 932 listings for agent-1."

    def handle(self, **_: Any) -> None:
        """Import them."""
        mlssocial.create_table()
        self.stdout.write(str(import_feed(demo_page(), user_id="agent-1", provider="sacramento")))
