"""Names, values and conditions of a request's expressions: no field's name is ever syntax, no value is ever text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .codec import number_text
from .schema import ENTITY_TYPE, PK, TTL, UPDATED_AT, WRITE_ID, Entity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .changes import Path
    from .wire import AttributeValue, Row

    Value = dict[str, Any] | AttributeValue | msgspec.Raw


class Expression(msgspec.Struct):
    """Names and values of a request's expressions, each under a placeholder: no field's name is ever syntax."""

    names: dict[str, str] = {}
    values: dict[str, Any] = {}

    def path(self, parts: Iterable[str]) -> str:
        """Give a document path in placeholders."""
        return ".".join(f"#{self.names.setdefault(part, f'n{len(self.names)}')}" for part in parts)

    def value(self, value: Value) -> str:
        """Give a placeholder for a value."""
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = value
        return placeholder

    def alive(self, entity: Entity[Any], now: int) -> str:
        """Give the condition of every update and delete: an item of this entity, whose TTL has not passed."""
        return f"({self.path((ENTITY_TYPE,))} = {self.value({'S': entity.name})} AND {self.not_expired(now)})"

    def not_expired(self, now: int) -> str:
        """Give the condition that an item's TTL has not passed: a number of epoch seconds, anything else is none."""
        return not_expired(self.path((TTL,)), self.value({"S": "N"}), self.value({"N": str(now // 1000)}))

    def expired(self, now: int) -> str:
        """Give the condition that an item's TTL has passed."""
        ttl = (TTL,)
        return f"({self.of_type(ttl, 'N')} AND {self.path(ttl)} <= {self.value({'N': str(now // 1000)})})"

    def absent(self, now: int) -> str:
        """Give the condition of a create: no item, or one whose TTL has passed."""
        return f"attribute_not_exists({self.path((PK,))}) OR {self.expired(now)}"

    def unchanged(self, item: Row) -> str:
        """Give the condition that an item's version, the pair (UpdatedAt, WriteId), is the one that *item* has."""
        return " AND ".join(self.same((name,), item.get(name)) for name in (UPDATED_AT, WRITE_ID))

    def same(self, path: Path, value: Value | None) -> str:
        """Give the condition that *path* holds this value, or nothing where that is None."""
        at = self.path(path)
        return f"attribute_not_exists({at})" if value is None else f"{at} = {self.value(value)}"

    def one_of(self, path: Path, values: Iterable[dict[str, Any]]) -> str:
        """Give the condition that one of these values stands at *path*."""
        return f"{self.path(path)} IN ({', '.join(map(self.value, values))})"

    def of_type(self, path: Path, kind: str) -> str:
        """Give the condition that *path* holds a value of this type."""
        return f"attribute_type({self.path(path)}, {self.value({'S': kind})})"

    def empty(self, path: Path) -> str:
        """Give the condition that *path* is missing or null."""
        return f"(attribute_not_exists({self.path(path)}) OR {self.of_type(path, 'NULL')})"

    def missing_or_number(self, path: Path) -> str:
        """Give the condition that a number can be added at *path*."""
        return f"(attribute_not_exists({self.path(path)}) OR {self.of_type(path, 'N')})"

    def added(self, path: Path, amount: dict[str, Any]) -> str:
        """Give the assignment that adds to a number, or makes it."""
        # ADD takes top-level attributes only: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
        at = self.path(path)
        return f"{at} = if_not_exists({at}, {self.value({'N': number_text(0)})}) + {self.value(amount)}"

    def request(self) -> dict[str, Any]:
        """Give the request's members."""
        names = {f"#{placeholder}": name for name, placeholder in self.names.items()}
        return {"ExpressionAttributeNames": names, "ExpressionAttributeValues": self.values}


def not_expired(ttl: str, number: str, now: str) -> str:
    """Give the condition that a TTL has not passed, in placeholders for its path, the type's name and the time."""
    return f"(NOT attribute_type({ttl}, {number}) OR {ttl} > {now})"


def update_expression(sets: list[str], removes: list[str]) -> str:
    """Join assignments and paths to remove."""
    return f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
