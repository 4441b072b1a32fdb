"""The names that are at hand in the shell, and in the calls that the demo shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import mlssocial


def names() -> dict[str, Any]:
    """Give every public name of mlssocial, and what times and amounts are made of."""
    beside = {
        "UTC": UTC,
        "Decimal": Decimal,
        "date": date,
        "datetime": datetime,
        "mlssocial": mlssocial,
        "timedelta": timedelta,
    }
    return {name: getattr(mlssocial, name) for name in mlssocial.__all__} | beside
