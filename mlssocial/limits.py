"""
DynamoDB's limits on an update or a check: what is sure to break one is not sent, and DynamoDB's refusal is put in our words.

A whole item is measured where it is made. What an update leaves behind only DynamoDB knows: here it is held to what no item can
take, and to the length of expressions. The 300 operators of an expression are out of reach within its 4 KB: the shortest
condition that an update adds for a field has 2 in 33 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .codec import MAX_ITEM_BYTES, MAX_NESTING, dotted, item_size
from .entities import MAX_NUMBER_DIGITS
from .exceptions import InvalidItemError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-expression-parameters
MAX_EXPRESSION_BYTES = 4 * 1024
MAX_NAMES_BYTES = 2 * 1024 * 1024  # with the values, of which no item takes more than its own size

# By what DynamoDB, DynamoDB Local and the embedded engine say of them.
_REFUSALS: Mapping[str, str] = {
    "Item size": f"the item would pass the {MAX_ITEM_BYTES:,} bytes that DynamoDB takes; shorten or remove a field first",
    "Nesting Levels": f"the item would be nested deeper than the {MAX_NESTING} levels that DynamoDB takes",
    "38 digits": f"a sum would have more than the {MAX_NUMBER_DIGITS} digits that DynamoDB keeps",
    "Number overflow": "a sum would pass DynamoDB's range, 1E-130 to 9.99E+125",
}


def check_values(operation: str, key: tuple[str, str], values: Mapping[tuple[str, ...], dict[str, Any]]) -> None:
    """Refuse values, by their paths in Data, that no item can hold together; InvalidItemError names the largest."""
    sizes = {path: item_size({path[-1]: value}) for path, value in values.items()}
    if (size := sum(sizes.values())) > MAX_ITEM_BYTES:
        largest = dotted(max(sizes, key=lambda path: sizes[path]))
        over = (
            f"{size:,} bytes are set, {size - MAX_ITEM_BYTES:,} more than the {MAX_ITEM_BYTES:,} that DynamoDB takes in an item"
        )
        raise InvalidItemError(operation, key, f"{over}; the largest field is {largest}", fields=(largest,))


def check_expressions(operation: str, key: tuple[str, str], **expressions: str) -> None:
    """Refuse a request whose expressions, by their names, are too long; InvalidItemError says by how much."""
    name = max(expressions, key=lambda name: len(expressions[name]))
    size = len(expressions[name])  # placeholders, which are ASCII
    if size > MAX_EXPRESSION_BYTES:
        over = f"{size:,} bytes, {size - MAX_EXPRESSION_BYTES:,} more than the {MAX_EXPRESSION_BYTES:,} that DynamoDB takes"
        remedy = "change fewer fields at once, set a map whole, or save() the item"
        raise InvalidItemError(operation, key, f"its {name} expression has {over}; {remedy}")


def check_names(operation: str, key: tuple[str, str], names: Iterable[str]) -> None:
    """Refuse a request whose fields have longer names than a request takes, all together."""
    if (size := sum(len(name.encode()) for name in names)) > MAX_NAMES_BYTES - MAX_ITEM_BYTES:
        over = f"the names of its fields have {size:,} bytes, and there is room for {MAX_NAMES_BYTES - MAX_ITEM_BYTES:,}"
        raise InvalidItemError(operation, key, f"{over}; change fewer fields at once")


def broken(operation: str, key: tuple[str, str], error: StoreError) -> InvalidItemError | None:
    """Give DynamoDB's refusal of a write for a limit in our words, None for any other."""
    if error.code == "ValidationException":
        for words, reason in _REFUSALS.items():
            if words in str(error):
                return InvalidItemError(operation, key, reason)
    return None
