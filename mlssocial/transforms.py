"""
One item of a migration: what its transform makes of it, and the one conditional write that stores it.

A transform is given an item as plain Python and knows nothing of payloads, so that it can read and write shapes that no payload
has. What follows from the item (index keys, sealed tokens, its version) is made here, as for every other write.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from . import codec, writes
from .codec import MAX_ITEM_BYTES, CodecError, WireMap, item_size
from .differences import Shower
from .exceptions import (
    DecryptionError,
    InvalidItemError,
    InvalidKeyError,
    ItemError,
    StoreError,
)
from .expressions import Expression, update_expression
from .prepare import Prepared, Write
from .scans import Met, insist
from .schema import (
    CREATED_AT,
    DATA,
    ENTITIES,
    ENTITY_TYPE,
    INDEX_ATTRIBUTES,
    LEASE_ID,
    LEASE_UNTIL,
    PK,
    SK,
    UPDATED_AT,
    WRITE_ID,
    Entity,
    entity_type,
    key_of,
    token_at_rest,
)
from .tokens import MASK, Token
from .wire import Row, encoded, plain, plain_row


class Delete(Enum):
    """What a transform gives for an item that is to be deleted."""

    DELETE = "DELETE"

    def __repr__(self) -> str:
        return self.value


DELETE = Delete.DELETE
Transform = Callable[[dict[str, Any]], "dict[str, Any] | Delete | None"]

_INDEX = tuple(INDEX_ATTRIBUTES.values())
_HIDDEN = frozenset({*_INDEX, WRITE_ID, LEASE_ID, LEASE_UNTIL})
_FIXED = (PK, SK, ENTITY_TYPE, CREATED_AT, UPDATED_AT)


class Fate(StrEnum):
    """What became of an item."""

    CHANGED = "changed"
    DELETED = "deleted"
    SETTLED = "settled"
    """Another writer came first, and left nothing to change."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What came of an item that was to change; in a dry run, what would come of it.

    Attributes:
        key: (PK, SK).
        entity: Its EntityType.
        fate: What became of it.
        write_units: What the write costs, by DynamoDB's rules.
        reason: Why it failed.
        changes: What changed, line by line, with secrets masked; where that was asked for.
    """

    key: tuple[str, str]
    entity: str
    fate: Fate
    write_units: int = 0
    reason: str = ""
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.entity} {self.key[0]} / {self.key[1]}: {self.reason or self.fate}"

    def as_dict(self) -> dict[str, Any]:
        """Give what failed as what JSON can hold."""
        return {"key": list(self.key), "entity": self.entity, "reason": self.reason}


class UntransformableError(Exception):
    """An item cannot be migrated; the reason holds nothing of its secrets."""


@dataclass(frozen=True, slots=True, repr=False)  # it may hold tokens
class Change:
    """
    What is to be done to an item.

    Attributes:
        entity: Which.
        row: The item as it was read.
        old: What a transform sees of it, and *new* what it made of that: None where it is to be deleted.
        index: The index attributes that it has to have.
    """

    entity: Entity[Any]
    row: Row
    old: WireMap
    new: WireMap | None
    index: WireMap

    @property
    def key(self) -> tuple[str, str]:
        """The item's (PK, SK)."""
        return key_of(self.row)

    @property
    def is_news(self) -> bool:
        """Whether more than index keys and the sealing of tokens changes."""
        tokens = {wire for _, wire in self.entity.token_names}
        return self.new is None or _without(self.old, tokens) != _without(self.new, tokens)

    def write_units(self) -> int:
        """
        Count what the write costs: the larger of both items by the KB, and the same for every index that holds it.

        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
        """
        before = plain_row(self.row)
        after = None if self.new is None else self._whole(self.new)
        units = max(_kilobytes(before), _kilobytes(after))
        for names in zip(_INDEX[::2], _INDEX[1::2], strict=True):
            was, now = _index_key(before, names), _index_key(after, names)
            costs = [_kilobytes(item) for item, key in ((before, was), (after, now)) if key is not None]
            units += max(costs, default=0) if was == now else sum(costs)
        return units

    def prepared(self) -> Prepared:
        """Make the write: it is refused unless the item's version, its Data and what else changes are what was read."""
        entity, row, key = self.entity, self.row, self.key
        write, expression = Write.new("migrate", entity, entity.parse(*key)), Expression()
        new = {} if self.new is None else self.new
        changed = [name for name in sorted({*self.old, *new}) if self.old.get(name) != new.get(name)]
        seen = {name: _unshown(plain(row[name])) if name in row else None for name in (DATA, *changed)}
        conditions = [expression.alive(entity, write.now), expression.unchanged(row)]
        conditions += [expression.same((name,), value) for name, value in seen.items()]
        if self.new is None:
            members = write.members(expression.request(), " AND ".join(conditions))
            return Prepared(write, "DeleteItem", members, write.refuses())
        if (size := item_size(self._whole(new))) > MAX_ITEM_BYTES:
            raise UntransformableError(f"it would have {size:,} bytes, and DynamoDB takes {MAX_ITEM_BYTES:,}")
        values = {name: _unshown(new[name]) for name in changed if name in new} | self.index
        values[WRITE_ID] = {"S": write.write_id}
        if self.is_news:
            values[UPDATED_AT] = {"N": str(write.now)}
        gone = [name for name in changed if name not in new] + [
            name for name in _INDEX if name in row and name not in self.index
        ]
        change = update_expression(
            [f"{expression.path((name,))} = {expression.value(value)}" for name, value in values.items()],
            [expression.path((name,)) for name in gone],
        )
        members = write.members(expression.request(), " AND ".join(conditions), UpdateExpression=change, ReturnValues="NONE")
        return Prepared(write, "UpdateItem", members, write.refuses(), once=True)

    def lines(self) -> tuple[str, ...]:
        """Say what changes, line by line, with secrets masked."""
        if self.new is None:
            return ("the item is deleted",)
        show = Shower(self.entity, view(self.entity, self.key, self.old))
        old_index = {name: plain(self.row[name]) for name in _INDEX if name in self.row}
        return (*show.lines(self.old, self.new), *show.lines(old_index, self.index))

    def _whole(self, new: WireMap) -> WireMap:
        """Give the whole item as it will be; a WriteId has always the same length."""
        kept = {name: plain(value) for name, value in self.row.items() if name in {LEASE_ID, LEASE_UNTIL}}
        return {**new, **kept, **self.index, WRITE_ID: {"S": "-" * 16}}


@dataclass(frozen=True, slots=True)
class Transformer:
    """
    Does a migration's work on an item.

    Attributes:
        transform: The user's function, with the filter; it is called for what :func:`view` gives.
        dry_run: Nothing is written.
        with_changes: Say what changes.
    """

    transform: Callable[[], Transform]
    dry_run: bool = False
    with_changes: bool = False

    def __call__(self, row: Row) -> Outcome | None:
        """Transform an item and store what came of it; None where nothing is to be done."""
        key, entity = key_of(row), ENTITIES[entity_type(row) or ""]
        try:
            wanted = self.change(row)
            if wanted is None:
                return None
            if self.dry_run:
                wanted.prepared()  # it finds what cannot be stored, too
                return self._outcome(wanted)
            done, met = insist(wanted, row, act=_written, reread=_reread, look=self.change)
        except (UntransformableError, InvalidItemError, InvalidKeyError, CodecError, DecryptionError) as error:
            return Outcome(key, entity.name, Fate.FAILED, reason=_reason(error))
        if met is Met.CHANGING:
            return Outcome(key, entity.name, Fate.FAILED, reason="other writers kept changing it; run it again")
        return Outcome(key, entity.name, Fate.SETTLED) if met is Met.SETTLED else self._outcome(done)

    def change(self, row: Row) -> Change | None:
        """Say what is to be done to an item, None for nothing."""
        key, entity = key_of(row), ENTITIES[entity_type(row) or ""]
        ids = entity.parse(*key)
        old = _canonical(row)
        new = self._made(entity, key, old)
        if new is None:
            return None
        if isinstance(new, Delete):
            return Change(entity, row, old, None, {})
        if new != old:
            again = self._made(entity, key, new)
            if again is not None and again != new:
                raise UntransformableError("the transform is not idempotent: it changes again what it has made")
        data, before = _data(new), old.get(DATA, {}).get("M", {})
        names = zip(entity.index_fields, entity.index_names, strict=True)
        given = frozenset(name for name, wire in names if before.get(wire) != data.get(wire))
        index = entity.index_keys(ids, data, given)
        stored = {name: plain(row[name]) for name in _INDEX if name in row}
        return None if new == old and index == stored else Change(entity, row, old, new, index)

    def _made(self, entity: Entity[Any], key: tuple[str, str], old: WireMap) -> WireMap | Delete | None:
        """Call the transform on an item, and give what it made of it as it is to be stored."""
        try:
            made = self.transform()(view(entity, key, old))
        except Exception as error:
            raise UntransformableError(_told(entity, error)) from error
        if made is None or isinstance(made, Delete):
            return made
        if not isinstance(made, dict):
            raise UntransformableError(f"the transform gave a {type(made).__name__}, and not an item, None or DELETE")
        new: WireMap = codec.encode(_sealed(entity, key, made))["M"]
        if moved := [name for name in _FIXED if new.get(name) != old.get(name)]:
            raise UntransformableError(f"the transform changed {', '.join(moved)}, which stays as it is")
        if taken := sorted(_HIDDEN & new.keys()):
            raise UntransformableError(f"the transform gave {', '.join(taken)}, which the mapper makes itself")
        return new

    def _outcome(self, change: Change) -> Outcome:
        fate = Fate.DELETED if change.new is None else Fate.CHANGED
        changes = change.lines() if self.with_changes else ()
        return Outcome(change.key, change.entity.name, fate, change.write_units(), changes=changes)


def _written(change: Change, row: Row) -> Change:  # noqa: ARG001  the change knows its row
    """Write a change; the write is refused where the item is not what it was."""
    try:
        writes.apply(change.prepared())
    except StoreError as error:
        if not writes.is_final(error):
            raise
        raise UntransformableError(str(error)) from error
    return change


def _reread(change: Change) -> Row | None:
    return writes.read(change.entity, change.entity.parse(*change.key), consistent=True)


def view(entity: Entity[Any], key: tuple[str, str], item: WireMap) -> dict[str, Any]:
    """Give an item as a transform sees it: a dict of its own, numbers as Decimal, tokens as Token."""
    made: dict[str, Any] = codec.decode({"M": item})
    data = made.get(DATA)
    if not isinstance(data, dict):
        return made
    for _, wire in entity.token_names:
        if isinstance(text := data.get(wire), str) and text and text != MASK:
            data[wire] = token_at_rest(key, wire, text)
    return made


def _sealed(entity: Entity[Any], key: tuple[str, str], item: dict[str, Any]) -> dict[str, Any]:
    """Seal the tokens that an item has, as every write does."""
    data = item.get(DATA)
    if not isinstance(data, dict):
        raise UntransformableError("the transform gave an item whose Data is no map")
    tokens = {}
    for _, wire in entity.token_names:
        token = data.get(wire)
        if isinstance(token, str) and token and token != MASK:
            token = token_at_rest(key, wire, token)
        if isinstance(token, Token):
            tokens[wire] = entity.sealed(f"migrate {entity.name}", key, wire, token)
    return {**item, DATA: {**data, **tokens}}


def _canonical(row: Row) -> WireMap:
    """Give what a transform sees of an item, written as :func:`codec.encode` writes it, so that equal is equal."""
    shown = {name: codec.decode(plain(value), (name,)) for name, value in row.items() if name not in _HIDDEN}
    item: WireMap = codec.encode(shown)["M"]
    return item


def _data(item: WireMap) -> WireMap:
    data: WireMap = item[DATA]["M"]
    return data


def _without(item: WireMap, tokens: set[str]) -> WireMap:
    """Leave out how tokens lie."""
    data = item.get(DATA, {}).get("M")
    return item if not data else {**item, DATA: {"M": {name: value for name, value in data.items() if name not in tokens}}}


def _unshown(value: dict[str, Any]) -> dict[str, Any]:
    """Give a value in a form that does not show the clear text of tokens."""
    ((kind, content),) = value.items()
    return {"M": encoded(content)} if kind == "M" else value


def _kilobytes(item: WireMap | None) -> int:
    return 0 if item is None else -(-item_size(item) // 1024)


def _index_key(item: WireMap | None, names: tuple[str, str]) -> tuple[Any, Any] | None:
    """Give the key that an item has in an index, None where it is not in it."""
    return (item[names[0]], item[names[1]]) if item is not None and names[0] in item and names[1] in item else None


def _reason(error: Exception) -> str:
    """Say why an item failed, which is named beside."""
    return error.reason if isinstance(error, ItemError) else str(error)


def _told(entity: Entity[Any], error: Exception) -> str:
    """Say what a transform has raised, and where; its message only where no secret can stand in it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in line {frames[-1].lineno} of {frames[-1].name}()" if frames else ""
    message = "" if entity.token_names else f": {error}"
    return f"{type(error).__name__}{where}{message}"
