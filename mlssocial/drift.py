"""
Drift: index keys that do not follow from an item's data, found on one row and repaired by one conditional write.

The other application changes an item's data and leaves its index keys, or writes one key of a pair. The audit looks at every
item of the table with this, the stream handler at each that is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from . import prepare, writes
from .codec import CodecError
from .exceptions import InvalidItemError, InvalidKeyError, StoreError
from .schema import ENTITIES, INDEX_ATTRIBUTES, Entity, entity_type, expired, key_of, now_millis
from .wire import AttributeValue, Row

_NAMES = tuple(INDEX_ATTRIBUTES.values())
_PAIRS = tuple(zip(_NAMES[::2], _NAMES[1::2], strict=True))


class Kind(StrEnum):
    """What is wrong with an item: the first four are drift, which is repaired; the others are for somebody to look at."""

    MISSING = "missing"
    """An index that the item has to be in has no keys of it."""
    WRONG = "wrong"
    """An index has keys that its data does not give."""
    HALF = "half"
    """One key of an index is there, and the other is not."""
    UNEXPECTED = "unexpected"
    """An index that the item must not be in has keys of it."""
    UNFIT = "unfit"
    """A stored value cannot go into a key and is left out of it; often the item is in one index less. It is no drift."""
    CLEAR_TOKEN = "clear_token"  # noqa: S105
    """A token lies in clear text; ``encrypt-tokens`` seals it. It is no drift."""
    UNREADABLE = "unreadable"
    """No index keys can be told: its key is not its entity's, or its Data is no map."""


_DRIFT = frozenset({Kind.MISSING, Kind.WRONG, Kind.HALF, Kind.UNEXPECTED})


class Outcome(StrEnum):
    """What became of a finding."""

    FOUND = "found"
    """Nothing was written."""
    REPAIRED = "repaired"
    """The index keys follow from the data now."""
    SETTLED = "settled"
    """Another writer has come first, and left nothing to repair."""
    FAILED = "failed"
    """It could not be written; the notes say why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    An item whose index keys are not what its data gives; ``str`` of it says how.

    Attributes:
        key: (PK, SK).
        entity: Its EntityType.
        kinds: What is wrong, each kind once.
        stored: The index attributes that are there.
        wanted: The index attributes that should be there.
        notes: Stored values that cannot go into a key; tokens in clear text, by name; why it cannot be read, or be repaired.
    """

    key: tuple[str, str]
    entity: str
    kinds: tuple[Kind, ...]
    stored: dict[str, str]
    wanted: dict[str, str]
    notes: tuple[str, ...] = ()
    outcome: Outcome = Outcome.FOUND

    @property
    def drifted(self) -> bool:
        """Whether there is something to repair."""
        return not _DRIFT.isdisjoint(self.kinds)

    def __str__(self) -> str:
        changed = [name for name in _NAMES if self.stored.get(name) != self.wanted.get(name)]
        differences = [
            f"{name} is {self.stored.get(name, 'absent')}, should be {self.wanted.get(name, 'absent')}" for name in changed
        ]
        about = "; ".join([*(differences if self.drifted else ()), *self.notes])
        outcome = "" if self.outcome is Outcome.FOUND else f" [{self.outcome}]"
        return f"{self.entity} {self.key[0]} / {self.key[1]}: {', '.join(self.kinds)}: {about}{outcome}"

    def as_dict(self) -> dict[str, Any]:
        """Give the finding as what JSON can hold."""
        return {
            "key": list(self.key),
            "entity": self.entity,
            "kinds": [str(kind) for kind in self.kinds],
            "stored": self.stored,
            "wanted": self.wanted,
            "notes": list(self.notes),
            "outcome": str(self.outcome),
        }


def examine(row: Row) -> Finding | None:
    """
    Find out what is wrong with an item, by its row alone; None where nothing is, or where it is not ours to say.

    Another application's item, and one whose TTL has passed, are left alone.
    """
    entity = ENTITIES.get(entity_type(row) or "")
    if entity is None or expired(row, now_millis()):
        return None
    key = key_of(row)
    stored = {name: _text(row[name]) for name in _NAMES if name in row}
    try:
        data = entity.index_data(row)
        derived, left_out = entity.derive(entity.parse(*key), entity.index_values(data), frozenset())
    except (InvalidKeyError, CodecError) as error:
        return Finding(key, entity.name, (Kind.UNREADABLE,), stored, {}, (str(error),))
    wanted = {name: value for name, value in zip(_NAMES, derived[2:], strict=True) if value is not None}
    unfit, clear = left_out | _no_text(data), _clear(entity, row)
    kinds = dict.fromkeys(filter(None, (_kind(stored, wanted, pair) for pair in _PAIRS)))
    kinds |= dict.fromkeys([Kind.UNFIT] * bool(unfit) + [Kind.CLEAR_TOKEN] * bool(clear))
    notes = tuple(f"{name}: {reason}" for name, reason in (unfit | clear).items())
    return Finding(key, entity.name, tuple(kinds), stored, wanted, notes) if kinds else None


def repair(finding: Finding, row: Row) -> Finding:
    """
    Repair an item that has drifted, if it still is what *row* says, and give the finding with its outcome. One request.

    What DynamoDB refuses of this item for good, such as one that would pass 400 KB with its index keys, is a failed finding.

    Raises:
        StaleItemError: It has changed since; the error has it as it is now.
        ItemNotFoundError, WrongEntityError: It is gone, or another entity's.
        OutcomeUnknownError: The answer was lost. To try again does no harm.
        StoreError: DynamoDB refused, or could not be reached before the deadline.
    """
    entity = _entity(finding)
    try:
        writes.apply(prepare.rekey(entity, entity.parse(*finding.key), row))
    except (InvalidItemError, StoreError) as error:
        if not writes.is_final(error):
            raise
        return replace(finding, outcome=Outcome.FAILED, notes=(*finding.notes, str(error)))
    return replace(finding, outcome=Outcome.REPAIRED)


def reread(finding: Finding) -> Row | None:
    """Read a finding's item as it is now; None where it is gone. One consistent request."""
    entity = _entity(finding)
    return writes.read(entity, entity.parse(*finding.key), consistent=True)


def _entity(finding: Finding) -> Entity[Any]:
    return ENTITIES[finding.entity]


def _kind(stored: dict[str, str], wanted: dict[str, str], pair: tuple[str, str]) -> Kind | None:
    has, needs = [stored.get(name) for name in pair], [wanted.get(name) for name in pair]
    if has == needs:
        return None
    if None in has and has != [None, None]:
        return Kind.HALF
    if needs == [None, None]:
        return Kind.UNEXPECTED
    return Kind.MISSING if has == [None, None] else Kind.WRONG


def _text(value: AttributeValue) -> str:
    """Give an index key; DynamoDB takes no other than text where the index stands."""
    return "(no text)" if value.S is None else value.S


def _no_text(data: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Name the fields of which no key can be made, whatever they hold."""
    return {name: "it is stored as neither text nor a number" for name, value in data.items() if not value.keys() & _SCALARS}


def _clear(entity: Entity[Any], row: Row) -> dict[str, str]:
    return {name: "it lies in clear text" for name, token in entity.stored_tokens(row).items() if not token.sealed}


_SCALARS = frozenset({"S", "N", "NULL"})
