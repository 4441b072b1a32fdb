"""``manage.py mlssocial_init``: the table, made and checked."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

import mlssocial
from mlssocial.settings import table_settings


class Command(BaseCommand):
    """Makes the table unless it stands, and compares it with what the models need."""

    help = "Makes the DynamoDB table with its indexes and TTL unless it stands, waits for it, and checks it."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        """Make the table; CommandError where one that stood already is another."""
        try:
            name = table_settings().table_name
            made, differences = mlssocial.create_table(), mlssocial.check_table()
        except mlssocial.MLSSocialError as error:
            raise CommandError(str(error)) from error
        if differences:
            raise CommandError("; ".join(differences))
        if options["verbosity"]:
            self.stdout.write(self.style.SUCCESS(f"{name}: {'made' if made else 'it stands already'}; all is well"))
