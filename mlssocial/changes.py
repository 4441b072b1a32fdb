"""
What an update changes: keyword arguments checked against the payload, as paths inside ``Data``.

``price=...`` is a field, ``address__city=...`` a nested one. A nested field's parent map may be missing in the stored item; an
update assumes that it is there, makes its request conditional on that, and is resolved anew against the item that refused it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError

from .codec import MAX_NESTING, CodecError, WireMap, check_bounds, dotted, encode, explain, native, number_text, wire_name
from .entities import PlatformMetrics
from .exceptions import InvalidItemError, clipped
from .schema import Entity
from .tokens import Token, hide

Path = tuple[str, ...]

_NULL = {"NULL": True}


WireSets = dict[Path, dict[str, Any]]


class Resolved(msgspec.Struct):
    """What one request sends, and what it takes for granted: *maps* are maps, *absent* is missing or null."""

    sets: WireSets = {}
    adds: WireSets = {}
    removes: list[Path] = []
    maps: set[Path] = set()
    absent: set[Path] = set()


class Changes(msgspec.Struct, frozen=True):
    """
    Values to set, numbers to add and paths to remove, all inside ``Data`` and in wire names.

    Attributes:
        fields: The payload's top-level fields that are touched, by their Python names.
    """

    sets: Mapping[Path, dict[str, Any]] = {}
    adds: Mapping[Path, int | Decimal] = {}
    removes: frozenset[Path] = frozenset()
    fields: frozenset[str] = frozenset()

    def touches_index(self, entity: Entity[Any]) -> bool:
        """Tell whether index keys follow from what changes."""
        return not self.fields.isdisjoint(entity.index_fields)

    def decide_index(self, entity: Entity[Any]) -> bool:
        """Tell whether the changes hold all that the index keys are made of."""
        return self.fields.issuperset(entity.index_fields)

    def asked(self) -> dict[str, Any]:
        """Give what is asked for as plain values in a fixed order, to tell one request from another."""
        return {
            "sets": sorted(([*path], value) for path, value in self.sets.items()),
            "adds": sorted(([*path], number_text(amount)) for path, amount in self.adds.items()),
            "removes": sorted([*path] for path in self.removes),
        }

    def after(self, data: WireMap) -> WireMap:
        """Give the top-level fields of Data as they will be."""
        gone = {path[0] for path in self.removes if len(path) == 1}
        given = {path[0]: value for path, value in self.sets.items() if len(path) == 1}
        return {name: value for name, value in data.items() if name not in gone} | given

    def resolve(self, data: WireMap | None) -> Resolved:
        """
        Work out what to send, given Data as it was last seen; where it was not read (None), parents are taken to be there.

        CodecError where a parent holds something that is no map.
        """
        resolved = Resolved()
        for path, value in self.sets.items():
            if (top := _missing_parent(data, path, resolved)) is None:
                resolved.sets[path] = value
            else:
                _graft(resolved.sets.setdefault(top, {"M": {}}), path[len(top) :], value)
        for path, amount in self.adds.items():
            self._resolve_add(data, path, {"N": number_text(amount)}, resolved)
        for path in self.removes:
            if _missing_parent(data, path, resolved) is None:
                resolved.removes.append(path)
        return resolved

    def _resolve_add(self, data: WireMap | None, path: Path, amount: dict[str, Any], resolved: Resolved) -> None:
        top = _missing_parent(data, path, resolved)
        if top is not None:
            _graft(resolved.sets.setdefault(top, {"M": {}}), path[len(top) :], amount)
            return
        found = None if data is None else _at(data, path)
        if found == _NULL:
            resolved.sets[path] = amount  # null is not zero, and nothing can be added to it
            resolved.absent.add(path)
        elif found is None or "N" in found:
            resolved.adds[path] = amount
        else:
            raise CodecError(f"{dotted(path)} is stored as {_kind(found)}, which is no number", (dotted(path),))


def parse(entity: Entity[Any], operation: str, ids: tuple[Any, ...], values: dict[str, Any], remove: Iterable[str]) -> Changes:
    """
    Check an update's keyword arguments, and the names to remove, against the entity's payload.

    InvalidItemError names what is unknown, invalid, a part of the key, required, given twice, or nothing at all.
    """
    hide(values)
    key = entity.keys(ids)
    remove = (remove,) if isinstance(remove, str) else tuple(remove)

    def seal(path: Path, token: Token) -> Token:
        return entity.sealed(operation, key, path[-1], token)

    try:
        removes = frozenset(_removal(entity, name) for name in remove)
        sets = dict(_assignment(entity.payload, name, value, seal) for name, value in values.items())
        touched = frozenset(name.split("__")[0] for name in (*values, *remove))
        if fixed := sorted(touched & entity.key_fields.keys()):
            raise CodecError(f"{', '.join(fixed)}: part of the key, which no update can change", tuple(fixed))
        _check_overlap([*sets, *removes])
    except CodecError as error:
        raise InvalidItemError(operation, key, str(error), fields=error.fields) from None
    if not touched:
        raise InvalidItemError(operation, key, "nothing to change was given")
    return Changes(sets=sets, removes=removes, fields=touched)


def expectations(entity: Entity[Any], operation: str, ids: tuple[Any, ...], values: dict[str, Any]) -> WireSets:
    """Check the keyword arguments of a check, as an update's are, and give the value that each path has to have."""
    hide(values)
    if secret := sorted(values.keys() & {name for name, _ in entity.token_names}):
        reason = f"{', '.join(secret)}: sealed tokens cannot be compared in the table; give if_unchanged_since"
        raise InvalidItemError(operation, entity.keys(ids), reason, fields=secret)
    return dict(parse(entity, operation, ids, values, ()).sets) if values else {}


_TOTALS = ("views", "shares", "inquiries")


def increments(platform: str, counters: Mapping[str, int | Decimal]) -> Changes:
    """Add counters to a platform's figures, and to the totals where there is one. CodecError if one is no number."""
    if not counters:
        raise CodecError("no counter was given")
    encode({platform: None}, ("platforms",))  # refuses a name that DynamoDB does not take
    for name, amount in counters.items():
        if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
            raise CodecError(f"{clipped(name)}: an int or a Decimal is needed, not {type(amount).__name__}", (clipped(name),))
        if name in PlatformMetrics.model_fields:  # a day that holds what its field refuses could not be read again
            _assignment(PlatformMetrics, name, amount)
        encode(amount, (name,))
        encode({name: None}, ("platforms", platform))
    adds: dict[Path, int | Decimal] = {("platforms", platform, name): amount for name, amount in counters.items()}
    adds |= {(name,): counters[name] for name in _TOTALS if name in counters}
    return Changes(adds=adds, fields=frozenset({"platforms", *(counters.keys() & _TOTALS)}))


class _MapOf(NamedTuple):
    """An open map, such as a post's figures by platform: any name, and one annotation for all entries."""

    entries: Any


_Holder = type[BaseModel] | _MapOf


def _removal(entity: Entity[Any], name: str) -> Path:
    if not isinstance(name, str):
        raise CodecError(f"remove: names of fields are needed, not {type(name).__name__}")
    path, holder, last = _walk(entity.payload, name)
    if not isinstance(holder, _MapOf) and holder.model_fields[last].is_required():
        raise CodecError(f"{name}: every {entity.name} has one; it cannot be removed", (name,))
    return path


def _assignment(
    payload: type[BaseModel], name: str, value: Any, seal: Callable[[Path, Token], Token] | None = None
) -> tuple[Path, dict[str, Any]]:
    path, holder, last = _walk(payload, name)
    check_bounds(value, path)
    try:
        if isinstance(holder, _MapOf):
            model = _holder(holder.entries)
            entry = value if value is None or model is None or isinstance(model, _MapOf) else model.model_validate(value)
            return path, encode(native(entry), path)
        checked = holder.model_construct()
        setattr(checked, last, value)  # validates this one field
        taken = getattr(checked, last)
        return path, encode(seal(path, taken) if seal and isinstance(taken, Token) else native(taken), path)
    except ValidationError as error:
        raise CodecError(str(explain(error)), (dotted(path),)) from None


def _walk(payload: type[BaseModel], name: str) -> tuple[Path, _Holder, str]:
    """Follow a name through the payload: its wire path, what holds it, and its name there."""
    holder: _Holder = payload
    path: list[str] = []
    parts, shown = name.split("__"), clipped(name)
    for depth, part in enumerate(parts, 1):
        if isinstance(holder, _MapOf):
            encode({part: None}, tuple(path))  # refuses a name that DynamoDB does not take
            path.append(part)
            inside = holder.entries
        elif part in holder.model_fields:
            path.append(wire_name(holder, part))
            inside = holder.model_fields[part].annotation
        else:
            raise CodecError(f"{shown}: {_unknown(holder, clipped(part))}", (shown,))
        if depth == len(parts):
            break
        found = _holder(inside)
        if found is None:
            above = clipped("__".join(parts[:depth]))
            raise CodecError(f"{shown}: {above} has no fields of its own; set it whole", (shown,))
        holder = found
    return _held(tuple(path)), holder, parts[-1]


def _held(path: Path) -> Path:
    """Hold a path to the depth that DynamoDB takes, a value's own depth aside."""
    if (levels := len(path) + 1) > MAX_NESTING:  # Data itself is the first
        top = dotted(path[:3])
        raise CodecError(f"{top}: nested {levels} levels deep, and DynamoDB takes {MAX_NESTING}", (top,))
    return path


def _unknown(owner: type[BaseModel], part: str) -> str:
    import difflib  # here, since it is for the message alone

    close = difflib.get_close_matches(part, owner.model_fields, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(owner.model_fields)}"
    return f"{owner.__name__} has no field {part}; {hint}"


def _holder(annotation: Any) -> _Holder | None:
    """Tell what a field of this annotation holds: a model's fields, an open map's entries, or None."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
        if get_origin(option) is dict:
            return _MapOf(get_args(option)[1])
    return _MapOf(Any) if annotation is Any else None


def _options(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [inner for option in get_args(annotation) for inner in _options(option)]
    return [annotation]


def _check_overlap(paths: list[Path]) -> None:
    for shorter, longer in pairwise(sorted(paths)):
        if longer[: len(shorter)] == shorter:
            both = (dotted(shorter), dotted(longer))
            raise CodecError(f"{both[0]} and {both[1]} are changed together; give one of them", both)


def _missing_parent(data: WireMap | None, path: Path, resolved: Resolved) -> Path | None:
    """Find the topmost parent of *path* that is missing or null, noting what the answer takes for granted."""
    for length in range(1, len(path)):
        parent = path[:length]
        if data is None:
            continue
        found = _at(data, parent)
        if found is None or found == _NULL:
            resolved.absent.add(parent)
            return parent
        if "M" not in found:
            raise CodecError(f"{dotted(parent)} is stored as {_kind(found)}, which has no fields", (dotted(parent),))
    if len(path) > 1:
        resolved.maps.add(path[:-1])
    return None


def _kind(value: dict[str, Any]) -> str:
    """Name a stored value's type; the value itself may be a secret of another application's."""
    ((kind, _),) = value.items()
    return {"S": "text", "N": "a number", "BOOL": "yes or no", "L": "a list", "M": "a map"}.get(kind, f"DynamoDB's type {kind}")


def _at(data: WireMap, path: Path) -> dict[str, Any] | None:
    found = data.get(path[0])
    for part in path[1:]:
        found = found["M"].get(part) if found is not None and "M" in found else None
    return found


def _graft(tree: dict[str, Any], path: Path, value: dict[str, Any]) -> None:
    for part in path[:-1]:
        tree = tree["M"].setdefault(part, {"M": {}})
    tree["M"][path[-1]] = value
