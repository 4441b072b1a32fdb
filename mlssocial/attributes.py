"""How the shared table's top-level attributes are read and written by PynamoDB."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pynamodb.attributes import Attribute, DiscriminatorAttribute

from .codec import WireMap, dump, epoch_millis, from_epoch_millis, load
from .entities import Payload
from .schema import DATA, Entity
from .tokens import Token

D = TypeVar("D", bound=Payload)


class MomentAttribute(Attribute[datetime]):
    """A point in time: an aware UTC datetime in Python, epoch milliseconds in the table."""

    attr_type = "N"

    def serialize(self, value: datetime) -> str:
        """Write epoch milliseconds."""
        return str(epoch_millis(value))

    def deserialize(self, value: str) -> datetime:
        """Read epoch milliseconds."""
        return moment(int(value))


@lru_cache(256)  # the items of an import or a batch have few moments among them
def moment(millis: int) -> datetime:
    """Give epoch milliseconds as an aware UTC datetime; OverflowError outside of the years 1 to 9999."""
    return from_epoch_millis(millis)


class TextAttribute(Attribute[str | None]):
    """Text that may be missing. PynamoDB's own UnicodeAttribute is typed as if it never were."""

    attr_type = "S"


class SecondsAttribute(Attribute[int | None]):
    """Epoch seconds, as DynamoDB's TTL wants them."""

    attr_type = "N"

    def serialize(self, value: int | None) -> str | None:
        """Write the number."""
        return None if value is None else str(value)

    def deserialize(self, value: str) -> int:
        """Read the number."""
        return int(value)


class DataAttribute(Attribute[D], Generic[D]):
    """The entity's own fields, as its pydantic payload."""

    attr_type = "M"

    def __init__(self, entity: Entity[D]) -> None:
        super().__init__(attr_name=DATA)
        self.entity = entity

    def serialize(self, value: D) -> WireMap:
        """
        Write the payload's fields, for PynamoDB's own dumps: tokens as they lie sealed in the table, or as the mask.

        No manager comes by here: what is stored is made by the write engine.
        """
        names = [name for name, _ in self.entity.token_names]
        tokens = {name: _shown(token) for name in names if (token := getattr(value, name, None)) is not None}
        return dump(value.model_copy(update=tokens) if tokens else value)

    def deserialize(self, value: WireMap) -> D:
        """Read the payload's fields."""
        return load(self.entity.payload, value)


def _shown(token: Token) -> Token:
    return token if token.sealed or not token else Token.masked()


class EntityTypeAttribute(DiscriminatorAttribute):
    """EntityType as discriminator: text in Python, and a type of another application's is no error."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        """Give the text, None where an item has none."""
        return super().__get__(instance, owner)

    def __set__(self, instance: Any, value: Any) -> None:
        """Take the text, or PynamoDB's class."""
        instance.attribute_values["entity_type"] = self._class_map.get(value, value) if isinstance(value, type) else value

    def serialize(self, value: Any) -> Any:
        """Write the text."""
        return self._class_map[value] if isinstance(value, type) else value

    def deserialize(self, value: str) -> Any:
        """Give the class of an EntityType, None where it is not one of ours."""
        return self._discriminator_map.get(value)
