"""The payload of the peers that have pydantic on top: what an application would write, with exact numbers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

Day = Annotated[date, PlainSerializer(date.isoformat)]


class Status(StrEnum):
    """The states of a listing."""

    ACTIVE = "active"
    PENDING = "pending"
    SOLD = "sold"
    EXPIRED = "expired"


class Fields(BaseModel):
    """Names in camelCase on the wire, unknown fields kept."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True, extra="allow")


class Address(Fields):
    """A listing's address."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None


class Photo(Fields):
    """One photo."""

    url: str | None = None
    caption: str | None = None
    order: int | None = None


class ListingData(Fields):
    """A listing's fields, as far as the benchmark's item has them."""

    status: Status
    mls_id: str | None = None
    mls_number: str | None = None
    mls_provider: str | None = None
    price: Decimal | None = None
    bedrooms: Decimal | None = None
    bathrooms: Decimal | None = None
    square_feet: Decimal | None = None
    property_type: str | None = None
    list_date: Day | None = None
    description: str | None = None
    address: Address | None = None
    photos: list[Photo] | None = None
    features: list[str] | None = None
    synced_at: int | None = None
    lot_size: Decimal | None = None
    year_built: int | None = None
    standard_status: str | None = None
    mls_status: str | None = None
    modification_timestamp: str | None = None
