"""
Loaders and dumpers, compiled once a payload from its pydantic fields.

A compiled function is straight-line code: one look-up and one conversion a field. It takes what it expects and nothing else;
anything that surprises it, it leaves to the codec, which validates with pydantic and names what is wrong. So both give the same
result or the same refusal, and adding a field to a payload needs no second edit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Strict

from . import codec
from .codec import WireMap, decode, encode, native, number_text, wire_name
from .entities import EPOCH, MILLISECOND, AnyPlatform, Day, Flag, Moment, Number, Payload, Platform, Whole, parse_number
from .tokens import Token
from .wire import AttributeValue, plain

P = TypeVar("P", bound=Payload)


class SurpriseError(Exception):
    """A value is not what a compiled function takes."""


class OwnRulesError(Exception):
    """A model says more of itself than compiled code knows: a default, a bound, a validator. It is left to pydantic."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of one annotation are loaded from an attribute value's member, and dumped to one; ``{x}`` is the value."""

    member: str
    load: str
    dump: str


_SMALL_MODEL = 4
_DEEPEST_OPEN_MAP = ("Data", "photos", "0", "any")
_LEAST_WHOLE, _MOST_WHOLE = -(10**38), 10**38
_PLAIN_NUMBER = re.compile(r"(?!-0$)-?(0|[1-9]\d{0,18})(\.\d{0,17}[1-9])?", re.ASCII)


def load_number(text: str) -> Decimal:
    """Read a number; what is short and plain needs no check."""
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else parse_number(text)


def load_whole(text: str) -> int:
    """Read a count."""
    if text.isdigit() and text.isascii() and len(text) <= 38:
        return int(text)
    raise SurpriseError


def load_moment(text: str) -> datetime:
    """Read epoch milliseconds."""
    return EPOCH + load_whole(text) * MILLISECOND


def load_day(text: str) -> date | str:
    """Read a calendar day, or the empty text that may stand for none."""
    if len(text) == 10 and text[4] == text[7] == "-":
        return date.fromisoformat(text)
    if text:
        raise SurpriseError
    return text


def dump_text(value: Any) -> str:
    """Write text that UTF-8 can hold."""
    if type(value) is not str:
        raise SurpriseError
    if not value.isascii():
        value.encode()
    return value


def dump_number(value: Any) -> str:
    """Write a number in plain notation."""
    if type(value) is not Decimal:
        raise SurpriseError
    text = str(value)
    return text if (text.isdigit() and len(text) <= 38) or _PLAIN_NUMBER.fullmatch(text) else number_text(value)


def dump_whole(value: Any) -> str:
    """Write a count."""
    if type(value) is not int or not _LEAST_WHOLE < value < _MOST_WHOLE:
        raise SurpriseError
    return str(value)


def dump_moment(value: Any) -> str:
    """Write epoch milliseconds."""
    if type(value) is not datetime or value.tzinfo is not UTC:
        raise SurpriseError
    return str((value - EPOCH) // MILLISECOND)


def dump_day(value: Any) -> str:
    """Write a calendar day."""
    if type(value) is date:
        return value.isoformat()
    if value != "":
        raise SurpriseError
    return ""


def dump_flag(value: Any) -> bool:
    """Write yes or no."""
    if type(value) is not bool:
        raise SurpriseError
    return value


def dump_platform(value: Any) -> str:
    """Write a platform that is known, or the text of another."""
    return value.value if type(value) is Platform else dump_text(value)


def dump_token(value: Any) -> str:
    """Write a token."""
    if type(value) is not Token:
        raise SurpriseError
    return dump_text(value.reveal())


def dump_name(value: Any) -> str:
    """Write a name in an open map."""
    return dump_text(value) or _surprise()


def dump_open_map(values: Any) -> dict[str, Any]:
    """Write a map of anything; one that is nested so deep that its place matters is a surprise."""
    data: dict[str, Any] = encode(native(items_of(values, dict)), _DEEPEST_OPEN_MAP)["M"]
    return data


def load_texts(values: list[Any]) -> list[Any]:
    """Read a list of texts."""
    texts = [value.S for value in values]
    return texts if None not in texts else _surprise()


def _surprise() -> Any:
    raise SurpriseError


def items_of(value: Any, kind: type) -> Any:
    """Give a list or a dict back, if it is one."""
    if type(value) is not kind:
        raise SurpriseError
    return value


# What occurs in nearly every item needs no call, or no new object.
_SMALL_NUMBERS = {text: Decimal(text) for text in (*map(str, range(100)), *(f"{n}.5" for n in range(20)))}
_SMALL_WHOLES = {str(number): number for number in range(3000)}

_SCALARS: list[tuple[Any, _Kind]] = [
    (str, _Kind("S", "{x}", "{x} if type({x}) is str and {x}.isascii() else dump_text({x})")),
    (Number, _Kind("N", "small_numbers[{x}] if {x} in small_numbers else load_number({x})", "dump_number({x})")),
    (Whole, _Kind("N", "small_wholes[{x}] if {x} in small_wholes else load_whole({x})", "dump_whole({x})")),
    (Moment, _Kind("N", "load_moment({x})", "dump_moment({x})")),
    (Day, _Kind("S", "load_day({x})", "dump_day({x})")),
    (Flag, _Kind("BOOL", "{x}", "dump_flag({x})")),
    (AnyPlatform, _Kind("S", "platforms({x}, {x})", "dump_platform({x})")),
    (Token, _Kind("S", "Token({x})", "dump_token({x})")),
]


class _Compiler:
    """Writes the source of one payload and of the models inside it, and runs it."""

    def __init__(self) -> None:
        self.source: list[str] = []
        self.models: dict[type[BaseModel], str] = {}
        self.names: dict[str, Any] = {
            "SurpriseError": SurpriseError,
            "new": object.__new__,
            "small_numbers": _SMALL_NUMBERS,
            "small_wholes": _SMALL_WHOLES,
            "Token": Token,
            "texts": load_texts,
            "platforms": Platform._value2member_map_.get,
            "entry": lambda value: decode(plain(value)),
            "open_map": lambda values: {name: decode(plain(value)) for name, value in values.items()},
            "dump_open_map": dump_open_map,
            "NULL": {"NULL": True},
            "set_dict": BaseModel.__dict__["__dict__"].__set__,
            "set_fields": BaseModel.__dict__["__pydantic_fields_set__"].__set__,
            "set_extra": BaseModel.__dict__["__pydantic_extra__"].__set__,
            "set_private": BaseModel.__dict__["__pydantic_private__"].__set__,
        }
        self.names |= {name: value for name, value in globals().items() if name.startswith(("load_", "dump_", "items_"))}

    def model(self, model: type[BaseModel]) -> str:
        """Write the loader and the dumper of one model, and give the name that they have it under."""
        if model in self.models:
            return self.models[model]
        if _has_rules(model):
            raise OwnRulesError
        name = self.models[model] = f"{model.__name__}{len(self.models) or ''}"
        hints = get_type_hints(model, include_extras=True)
        kinds = {field: self.kind(_not_none(hints[field])) for field in model.model_fields}
        self.names[f"known_{name}"] = frozenset(wire_name(model, field) for field in model.model_fields)
        self.names[f"fields_{name}"] = set(kinds)
        self.names[name] = model
        self.source += [*_loader(name, model, kinds), *_dumper(name, model, kinds)]
        return name

    def kind(self, annotation: Any) -> _Kind:
        """Give the kind of an annotation."""
        for known, kind in _SCALARS:
            if annotation == known:
                return kind
        if get_origin(annotation) is Annotated:
            inside, *rules = get_args(annotation)
            if any(not isinstance(rule, Strict) for rule in rules):
                raise OwnRulesError
            return self.kind(inside)
        if get_origin(annotation) is list:
            return self._list(get_args(annotation)[0])
        if get_origin(annotation) is dict:
            if get_args(annotation)[0] is not str:
                raise OwnRulesError
            return self._map(get_args(annotation)[1])
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            self.names[f"members_{annotation.__name__}"] = annotation._value2member_map_
            self.names[f"values_{annotation.__name__}"] = {member: member.value for member in annotation}
            return _Kind("S", f"members_{annotation.__name__}[{{x}}]", f"values_{annotation.__name__}[{{x}}]")
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            name = self.model(annotation)
            return _Kind("M", f"load_{name}({{x}})", f"dump_{name}({{x}})")
        raise TypeError(f"no payload field may be a {annotation}: compiled.py has no kind for it")

    def _list(self, inside: Any) -> _Kind:
        kind = self.kind(inside)
        load = kind.load.format(x=f"e.{kind.member}")
        loaded = f"[{load} for e in {{x}}]" if load != "e.S" else "texts({x})"
        return _Kind("L", loaded, f"[{_entry(kind)} for e in items_of({{x}}, list)]")

    def _map(self, inside: Any) -> _Kind:
        if inside is Any:
            return _Kind("M", "open_map({x})", "dump_open_map({x})")
        kind = self.kind(inside)
        load = kind.load.format(x=f"e.{kind.member}")
        pairs = f"dump_name(k): {_entry(kind)} for k, e in items_of({{x}}, dict).items()"
        return _Kind("M", f"{{{{k: {load} for k, e in {{x}}.items()}}}}", f"{{{{{pairs}}}}}")


def _entry(kind: _Kind) -> str:
    """Write the dump of a list's or map's entry, with its braces doubled for the format() to come."""
    return f'{{{{"{kind.member}": {kind.dump.format(x="e")}}}}}'


def _loader(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """Write the function that makes a model of a map's attribute values."""
    lines = [f"def load_{name}(data, get=dict.get):", *_whole_shape(name, model, kinds)]
    lines.append("    left = len(data); fields = set(); add = fields.add")
    for number, (field, kind) in enumerate(kinds.items()):
        required = model.model_fields[field].is_required()
        lines += [
            f"    value = get(data, {wire_name(model, field)!r})",
            f"    if value is None: {'raise SurpriseError' if required else f'v{number} = None'}",
            "    else:",
            f"        left -= 1; add({field!r}); content = value.{kind.member}",
            f"        if content is not None: v{number} = {kind.load.format(x='content')}",
            *([] if required else [f"        elif value.NULL: v{number} = None"]),
            "        else: raise SurpriseError",
        ]
    values = ", ".join(f"{field!r}: v{number}" for number, field in enumerate(kinds))
    return [
        *lines,
        f"    made = new({name})",
        f"    set_dict(made, {{{values}}}); set_fields(made, fields); set_private(made, None)",
        "    extra = {}",
        "    if left:",
        f"        extra = {{k: entry(e) for k, e in data.items() if k not in known_{name}}}",
        "        fields.update(extra)",
        "    set_extra(made, extra)",
        "    return made",
    ]


def _whole_shape(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """Write a shortcut for a small map that has all its fields and no other, as photos mostly do."""
    if len(kinds) > _SMALL_MODEL:
        return []
    names = {field: wire_name(model, field) for field in kinds}
    found = "; ".join(f"v{n} = data[{wire!r}].{kinds[field].member}" for n, (field, wire) in enumerate(names.items()))
    there = " and ".join(f"v{n} is not None" for n in range(len(kinds)))
    values = ", ".join(f"{field!r}: {kind.load.format(x=f'v{n}')}" for n, (field, kind) in enumerate(kinds.items()))
    return [
        f"    if len(data) == {len(kinds)} and {' and '.join(f'{wire!r} in data' for wire in names.values())}:",
        f"        {found}",
        f"        if {there}:",
        f"            made = new({name})",
        f"            set_dict(made, {{{values}}}); set_fields(made, {set(kinds)!r})",
        "            set_private(made, None); set_extra(made, {})",
        "            return made",
    ]


def _dumper(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """Write the function that makes a map's attribute values of a model."""
    lines = [
        f"def dump_{name}(payload):",
        f"    if type(payload) is not {name}: raise SurpriseError",
        "    fields = payload.__pydantic_fields_set__; values = payload.__dict__; more = payload.__pydantic_extra__ or ()",
        *_whole_payload(name, model, kinds),
        "    data = {}",
    ]
    for field, kind in kinds.items():
        written = f'{{{{"{kind.member}": {kind.dump}}}}}'.format(x="value")
        required = model.model_fields[field].is_required()
        target = f"data[{wire_name(model, field)!r}]"
        lines += [
            f"    if {field!r} in fields:",
            f"        value = values[{field!r}]",
            f"        if value is not None: {target} = {written}",
            # An unknown field may have this one's Python name: then it is the one that is set.
            "        else: raise SurpriseError" if required else f"        elif {field!r} not in more: {target} = NULL",
            *(["    else: raise SurpriseError"] if required else []),
        ]
    return [
        *lines,
        "    if more: data.update(dump_open_map(more))",
        "    return data",
    ]


def _whole_payload(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """Write the same shortcut for dumping."""
    if len(kinds) > _SMALL_MODEL:
        return []
    found = "; ".join(f"v{n} = values[{field!r}]" for n, field in enumerate(kinds))
    there = " and ".join(f"v{n} is not None" for n in range(len(kinds)))
    entries = ", ".join(
        f"{wire_name(model, field)!r}: {{{kind.member!r}: {kind.dump.format(x=f'v{n}')}}}"
        for n, (field, kind) in enumerate(kinds.items())
    )
    return [
        f"    if fields == fields_{name} and not more:",
        f"        {found}",
        f"        if {there}: return {{{entries}}}",
    ]


def _has_rules(model: type[BaseModel]) -> bool:
    """Tell whether a model has rules beside its fields' types, as a payload of this project has not."""
    decorators = model.__pydantic_decorators__
    hints = get_type_hints(model, include_extras=True)
    return (
        any((decorators.validators, decorators.field_validators, decorators.root_validators, decorators.model_validators))
        or bool(model.__private_attributes__)
        or model.__pydantic_post_init__ is not None
        or model.__pydantic_custom_init__
        or model.model_config != Payload.model_config
        or any(
            field.default_factory is not None
            or (not field.is_required() and field.default is not None)
            or tuple(field.metadata) != getattr(hints[name], "__metadata__", ())
            for name, field in model.model_fields.items()
        )
    )


def _not_none(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, UnionType}:
        options = [option for option in get_args(annotation) if option is not type(None)]
        return options[0] if len(options) == 1 else annotation
    return annotation


def compile_payload(payload: type[Payload]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Give a payload's loader, of a map's attribute values, and its dumper. Both raise what they will on a surprise."""
    compiler = _Compiler()
    try:
        name = compiler.model(payload)
    except OwnRulesError:
        return partial(_load_validated, payload), codec.dump
    exec(compile("\n".join(compiler.source), f"<codec of {payload.__name__}>", "exec"), compiler.names)  # noqa: S102
    return compiler.names[f"load_{name}"], compiler.names[f"dump_{name}"]


def _load_validated(payload: type[P], data: Mapping[str, AttributeValue]) -> P:
    return codec.load(payload, {name: plain(value) for name, value in data.items()})


_SURPRISES = (SurpriseError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError)
_compile = cache(compile_payload)


def load(payload: type[P], data: Mapping[str, AttributeValue]) -> P:
    """Make a payload of ``Data`` as it was read; CodecError names what does not fit."""
    try:
        loaded: P = _compile(payload)[0](data)
    except _SURPRISES:
        return _load_validated(payload, data)
    return loaded


def dump(payload: Payload) -> WireMap:
    """Make ``Data`` of a payload; CodecError names a field that was changed, past validation, to what cannot be read back."""
    try:
        dumped: WireMap = _compile(type(payload))[1](payload)
    except _SURPRISES:
        return codec.dump(payload)
    return dumped
