"""What a write gives a whole item beside Data: keys, type, times and WriteId, in the forms that requests have them in."""

from __future__ import annotations

from typing import Any

import msgspec

from .codec import WireMap
from .keys import Keys
from .scalars import quote
from .schema import CREATED_AT, DATA, ENTITY_TYPE, INDEX_ATTRIBUTES, PK, SK, UPDATED_AT, WRITE_ID, index_attributes
from .wire import to_json


class Head(msgspec.Struct, frozen=True, gc=False):  # made for each item of a batch: a tuple or a dataclass costs more
    """
    What a whole item has beside Data, and beside what its model does not write.

    Attributes:
        keys: All its keys.
        entity_type: Its EntityType.
        created_at: In epoch milliseconds; where the item is there already, a save keeps what it has.
        updated_at: In epoch milliseconds.
        write_id: The write's nonce.
    """

    keys: Keys
    entity_type: str
    created_at: int
    updated_at: int
    write_id: str

    def attributes(self) -> WireMap:
        """Give it as attribute values."""
        return {PK: {"S": self.keys.pk}, SK: {"S": self.keys.sk}, **self._beside_key()}

    def values(self) -> dict[str, Any]:
        """Give what of it a save sets, as an expression's values, each under its own name."""
        return {f":{name}": value for name, value in self._beside_key().items()}

    def _beside_key(self) -> WireMap:
        return {
            ENTITY_TYPE: {"S": self.entity_type},
            CREATED_AT: {"N": str(self.created_at)},
            UPDATED_AT: {"N": str(self.updated_at)},
            WRITE_ID: {"S": self.write_id},
            **index_attributes(self.keys),
        }

    @property
    def indexes(self) -> tuple[str, ...]:
        """The index attributes that it has."""
        return tuple([name for name, key in zip(INDEX_ATTRIBUTES.values(), self.keys[2:], strict=True) if key is not None])

    def item(self, data: msgspec.Raw, others: WireMap) -> msgspec.Raw:
        """Write the whole item as JSON, with *others* beside it: dicts of it all would cost more than its keys do."""
        pk, sk, gsi1pk, gsi1sk, gsi2pk, gsi2sk = self.keys
        index = rest = ""
        if gsi1pk is not None and gsi1sk is not None:
            index = f'"{_GSI1PK}":{{"S":{quote(gsi1pk)}}},"{_GSI1SK}":{{"S":{quote(gsi1sk)}}},'
        if gsi2pk is not None and gsi2sk is not None:
            index += f'"{_GSI2PK}":{{"S":{quote(gsi2pk)}}},"{_GSI2SK}":{{"S":{quote(gsi2sk)}}},'
        if others:
            own = {*self.attributes(), DATA}
            kept = {name: value for name, value in others.items() if name not in own}
            rest = f"{to_json(kept)[1:-1].decode()}," if kept else ""
        before = (
            f'{{"{PK}":{{"S":{quote(pk)}}},"{SK}":{{"S":{quote(sk)}}},"{ENTITY_TYPE}":{{"S":"{self.entity_type}"}},'
            f'"{CREATED_AT}":{{"N":"{self.created_at}"}},"{UPDATED_AT}":{{"N":"{self.updated_at}"}},'
            f'"{WRITE_ID}":{{"S":"{self.write_id}"}},'
            f'{index}{rest}"{DATA}":{{"M":'
        )
        return msgspec.Raw(b"".join((before.encode(), data, b"}}")))


_GSI1PK, _GSI1SK, _GSI2PK, _GSI2SK = INDEX_ATTRIBUTES.values()
