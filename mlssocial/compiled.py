"""
Loaders and dumpers, compiled once a payload from its pydantic fields.

A compiled function is straight-line code: one look-up and one conversion a field. It takes what it expects and nothing else;
anything that surprises it, it leaves to the codec, which validates with pydantic and names what is wrong. So both give the same
result or the same refusal, and adding a field to a payload needs no second edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from keyword import iskeyword
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, FailFast, Strict

from . import codec, scalars
from .codec import WireMap, wire_name
from .entities import AnyPlatform, Day, Flag, Moment, Number, Payload, Platform, Whole
from .scalars import SurpriseError, quote
from .tokens import Token
from .wire import AttributeValue, Hiding, Row, decode_row, plain, plain_row, to_json

P = TypeVar("P", bound=Payload)


class OwnRulesError(Exception):
    """A model says more of itself than compiled code knows: a default, a bound, a validator. It is left to pydantic."""


class _Kind(msgspec.Struct, frozen=True):
    """
    How values of one annotation are loaded from an attribute value's member, and how they are written into its JSON.

    Both are source; ``{x}`` is the value, and ``{load}`` begins the name of a model's loader. What is written stands in a
    f-string between single quotes, and has none itself. The shape is the type that a strict decoder reads the content into.
    """

    member: str
    load: str
    dump: str
    shape: Any = str

    def loaded(self, x: str, how: str) -> str:
        """Write how content is loaded: *how* is load, of attribute values of any kind, or read, of those of this shape."""
        return self.load.format(x=x, load=how)

    def completed(self, loaded: str) -> str:
        """Write the check of a list or map of this kind, where what is not of it would come through as None."""
        return f"load_complete({loaded})" if self.load in {"{x}", "platforms({x}, {x})"} else loaded

    def json(self, x: str) -> str:
        """Write the JSON of an attribute value, as a part of an f-string."""
        before, after = _BRACKETS.get(self.member, ("", ""))
        return f'{{{{"{self.member}":{before}{{{self.dump.format(x=x)}}}{after}}}}}'


_BRACKETS = {"N": ('"', '"'), "L": ("[", "]"), "M": ("{{", "}}")}
_SMALL_MODEL = 4

_SCALARS: list[tuple[Any, _Kind]] = [
    (str, _Kind("S", "{x}", "quote({x})")),
    (Number, _Kind("N", "numbers[{x}]", "number_texts[str({x})] if type({x}) is Decimal else dump_number({x})")),
    (
        Whole,
        _Kind(
            "N",
            "wholes[{x}]",
            "{x} if type({x}) is int and -1000000 < {x} < 1000000 else dump_whole({x})",
        ),
    ),
    (Moment, _Kind("N", "load_moment({x})", "dump_moment({x})")),
    (Day, _Kind("S", "load_day({x})", "dump_day({x})")),
    (Flag, _Kind("BOOL", "{x}", "dump_flag({x})", bool)),
    (AnyPlatform, _Kind("S", "platforms({x}, {x})", "quote({x})")),
    (Token, _Kind("S", "token_at_rest({x})", "dump_token({x})")),
]


class _Compiler:
    """Writes the source of one payload and of the models inside it, and runs it."""

    def __init__(self) -> None:
        self.source: list[str] = []
        self.models: dict[type[BaseModel], str] = {}
        self.shapes: dict[str, Any] = {}
        self.names: dict[str, Any] = {
            "SurpriseError": SurpriseError,
            "new": object.__new__,
            "numbers": scalars.numbers,
            "wholes": scalars.wholes,
            "number_texts": scalars.number_texts,
            "Decimal": Decimal,
            "token_at_rest": Token.at_rest,
            "platforms": Platform._value2member_map_.get,
            "dict_get": dict.get,
            "comma": ",".join,
            "set_dict": BaseModel.__dict__["__dict__"].__set__,
            "get_fields": BaseModel.__dict__["__pydantic_fields_set__"].__get__,
        }
        self.names |= {name: value for name, value in vars(scalars).items() if name.startswith(("load_", "dump_", "quote"))}

    def model(self, model: type[BaseModel]) -> str:
        """Write the loader and the dumper of one model, and give the name that they have it under."""
        if model in self.models:
            return self.models[model]
        if _has_rules(model):
            raise OwnRulesError
        name = self.models[model] = f"{model.__name__}{len(self.models) or ''}"
        hints = get_type_hints(model, include_extras=True)
        kinds = {field: self.kind(_not_none(hints[field])) for field in model.model_fields}
        wire = [wire_name(model, field) for field in kinds]
        if not all(name.isidentifier() and not iskeyword(name) for name in wire):
            raise OwnRulesError  # it would have to be quoted in what is written
        self.names[f"known_{name}"] = frozenset(wire)
        self.names[f"taken_{name}"] = frozenset((*wire, *kinds))
        self.names[f"fields_{name}"] = frozenset(kinds)
        self.names[name] = model
        self.shapes[name] = _struct(name, {wire: _value(kind) for wire, kind in zip(wire, kinds.values(), strict=True)})
        for how in ("load", "read"):
            self.source += _loader(how, name, model, kinds)
        self.source += _dumper(name, model, kinds)
        if len(kinds) <= _SMALL_MODEL:
            self.source += [line for how in ("load", "read") for line in _list_loader(how, name, model, kinds)]
            self.source += _list_dumper(name, model, kinds)
        return name

    def kind(self, annotation: Any) -> _Kind:
        """Give the kind of an annotation."""
        for known, kind in _SCALARS:
            if annotation == known:
                return kind
        if get_origin(annotation) is Annotated:
            inside, *rules = get_args(annotation)
            if any(not isinstance(rule, Strict | FailFast) for rule in rules):
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
            self.names[f"values_{annotation.__name__}"] = {member: quote(member.value) for member in annotation}
            return _Kind("S", f"members_{annotation.__name__}[{{x}}]", f"values_{annotation.__name__}[{{x}}]")
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            name = self.model(annotation)
            return _Kind("M", f"{{load}}_{name}({{x}})", f"dump_{name}({{x}})", self.shapes[name])
        raise TypeError(f"no payload field may be a {annotation}: compiled.py has no kind for it")

    def _list(self, inside: Any) -> _Kind:
        kind = self.kind(inside)
        if kind.load.startswith("{load}") and len(inside.model_fields) <= _SMALL_MODEL:
            name = self.models[inside]
            return _Kind("L", f"{{load}}_all_{name}({{x}})", f"dump_all_{name}({{x}})", list[_value(kind)])  # type: ignore[misc]
        loaded = kind.completed(f"[{kind.loaded(f'e.{kind.member}', '{load}')} for e in {{x}}]")
        return _Kind("L", loaded, self._dump_all("list", kind, kind.json("e"), "e in values"), list[_value(kind)])  # type: ignore[misc]

    def _map(self, inside: Any) -> _Kind:
        if inside is Any:
            return _Kind("M", "load_open_map({x})", "dump_open_map({x})", Row)
        kind = self.kind(inside)
        load = kind.loaded(f"e.{kind.member}", "{load}")
        entry = f"{{dump_name(k)}}:{kind.json('e')}"
        return _Kind(
            "M",
            kind.completed(f"{{{{k: {load} for k, e in {{x}}.items()}}}}"),
            self._dump_all("dict", kind, entry, "k, e in values.items()"),
            dict[str, _value(kind)],  # type: ignore[misc]  # a type made here
        )

    def _dump_all(self, holder: str, kind: _Kind, entry: str, each: str) -> str:
        """Write a function for the entries of a list or a map, as many as an item may hold, and give the call of it."""
        name = f"dump_{holder}{len(self.source)}"
        most = codec.MAX_ITEM_BYTES // (4 if kind.member == "M" else 1)  # an entry takes one byte, and a map three
        self.source += [
            f"def {name}(values):",
            f"    if type(values) is not {holder} or len(values) > {most}: raise SurpriseError",
            f"    return comma([f'{entry}' for {each}])",
        ]
        return f"{name}({{x}})"


def _struct(name: str, fields: Mapping[str, Any]) -> Any:
    """Make a type for a strict decoder: these fields, any of which may be missing, and no others."""
    members = [(field, type_ | None, None) for field, type_ in fields.items()]
    return msgspec.defstruct(name, members, bases=(Hiding,), gc=False, omit_defaults=True, forbid_unknown_fields=True)


def _value(kind: _Kind) -> Any:
    """Make the type of an attribute value of this kind, or null."""
    return _struct("Value", {kind.member: kind.shape, "NULL": bool})


def _loader(how: str, name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """
    Write the function that makes a model of a map's attribute values: a dict of any (load), or the model's shape (read).

    The set of the fields that are set, and the unknown ones, are left to the payload where they follow from the values.
    """
    fetch = "dict_get(data, {!r})" if how == "load" else "data.{}"
    whole = _whole_map(how, name, model, kinds, "return made") if len(kinds) <= _SMALL_MODEL else []
    lines = [f"def {how}_{name}(data):", *whole, "    found = 0; nulls = ()", f"    made = new({name}); inside = made.__dict__"]
    for field, kind in kinds.items():
        required, put = model.model_fields[field].is_required(), f"inside[{field!r}] ="
        lines += [
            f"    value = {fetch.format(wire_name(model, field))}",
            f"    if value is None: {'raise SurpriseError' if required else f'{put} None'}",
            "    else:",
            f"        {'found += 1; ' if how == 'load' else ''}content = value.{kind.member}",
            f"        if content is not None: {put} {kind.loaded('content', how)}",
            *([] if required else [f"        elif value.NULL: {put} None; nulls = (*nulls, {field!r})"]),
            "        else: raise SurpriseError",
        ]
    unknown = [
        "    if found != len(data):",
        f"        extra = {{k: load_any(e) for k, e in data.items() if k not in known_{name}}}",
        "        made.__pydantic_extra__.update(extra); made.__pydantic_fields_set__.update(extra)",
    ]
    return [
        *lines,
        "    if nulls: made.__pydantic_fields_set__.update(nulls)",
        *(unknown if how == "load" else []),
        "    return made",
    ]


def _list_loader(how: str, name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """Write the function that makes a list of small models: a call for each is what they cost the most."""
    return [
        f"def {how}_all_{name}(values):",
        "    models = []; add = models.append",
        "    for e in values:",
        "        data = e.M",
        *[f"    {line}" for line in _whole_map(how, name, model, kinds, "add(made); continue")],
        f"        add({how}_{name}(data))",
        "    return models",
    ]


def _whole_map(how: str, name: str, model: type[BaseModel], kinds: Mapping[str, _Kind], then: str) -> list[str]:
    """
    Write a shortcut for a small map that has all its fields and no other, as photos mostly do.

    The values are put into the dict that the new model has: its keys are shared by all models of the class.
    """
    names = [wire_name(model, field) for field in kinds]
    members = [kind.member for kind in kinds.values()]
    there = " and ".join(f"v{n} is not None" for n in range(len(kinds)))
    values = "; ".join(f"inside[{field!r}] = {kind.loaded(f'v{n}', how)}" for n, (field, kind) in enumerate(kinds.items()))
    if how == "load":
        found = "; ".join(
            f"v{n} = data[{wire!r}].{member}" for n, (wire, member) in enumerate(zip(names, members, strict=True))
        )
        whole = f"len(data) == {len(kinds)} and {' and '.join(f'{wire!r} in data' for wire in names)}"
    else:
        found = "; ".join(f"v{n} = v{n}.{member}" for n, member in enumerate(members))
        whole = there
    return [
        *([f"    {'; '.join(f'v{n} = data.{wire}' for n, wire in enumerate(names))}"] if how == "read" else []),
        f"    if {whole}:",
        f"        {found}",
        f"        if {there}:",
        f"            made = new({name}); inside = made.__dict__; {values}",
        f"            {then}",
    ]


def _dumper(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """
    Write the function that writes a model as JSON: the inside of a map's attribute values.

    It asks the set of fields that are set only about those that are None: where the count comes out, the others are in it.
    Where that set was not made yet, as of a payload that was read and not touched, what is not None is set, and nothing else.
    """
    whole = _whole_payload(name, model, kinds, "return f'", "'") if len(kinds) <= _SMALL_MODEL else []
    lines = [f"def dump_{name}(payload):", *_payload_parts(name), *whole, "    parts = []"]
    for field, kind in kinds.items():
        required, wire = model.model_fields[field].is_required(), wire_name(model, field)
        null = f"""elif fields is not None and {field!r} in fields: parts.append('"{wire}":{{"NULL":true}}')"""
        lines += [
            f"    value = values[{field!r}]",
            f"""    if value is not None: parts.append(f'"{wire}":{kind.json("value")}')""",
            f"    {'else: raise SurpriseError' if required else null}",
        ]
    return [
        *lines,
        "    if fields is not None:",
        f"        known = len(fields) if not more and fields <= fields_{name} else len(fields & fields_{name})",
        "        if len(parts) != known: raise SurpriseError",
        f"    if more: parts.append(dump_extra(more, taken_{name}))",
        "    return comma(parts)",
    ]


def _list_dumper(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind]) -> list[str]:
    """Write the function that writes a list of small models."""
    before, after = """parts.append(f'{{"M":{{""", "}}}}')"
    whole = _whole_payload(name, model, kinds, before, f"{after}; continue")
    return [
        f"def dump_all_{name}(payloads):",
        "    if type(payloads) is not list: raise SurpriseError",
        "    parts = []",
        "    for payload in payloads:",
        *[f"    {line}" for line in (*_payload_parts(name), *whole)],
        f"        {before}{{dump_{name}(payload)}}{after}",
        "    return comma(parts)",
    ]


def _payload_parts(name: str) -> list[str]:
    """Write how a payload is taken apart."""
    return [
        f"    if type(payload) is not {name}: raise SurpriseError",
        "    try: fields = get_fields(payload); more = payload.__pydantic_extra__",
        "    except AttributeError: fields = more = None",
        "    values = payload.__dict__",
    ]


def _whole_payload(name: str, model: type[BaseModel], kinds: Mapping[str, _Kind], before: str, after: str) -> list[str]:
    """Write the same shortcut for dumping; *before* and *after* the entries stands what is done with them."""
    found = "; ".join(f"v{n} = values[{field!r}]" for n, field in enumerate(kinds))
    there = " and ".join(f"v{n} is not None" for n in range(len(kinds)))
    entries = ",".join(f'"{wire_name(model, field)}":{kind.json(f"v{n}")}' for n, (field, kind) in enumerate(kinds.items()))
    return [
        f"    if fields is None or (not more and fields == fields_{name}):",
        f"        {found}",
        f"        if {there}: {before}{entries}{after}",
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


class Compiled(NamedTuple):
    """
    What is compiled of one payload. Each function raises what it will on a surprise.

    Attributes:
        load: Makes a payload of a map's attribute values.
        read: Makes a payload of a map that was decoded into its shape.
        write: Writes a payload as JSON, without the braces.
        shape: The type of a map that has known fields only, each of its own kind; None where there is none.
    """

    load: Callable[[Any], Any]
    read: Callable[[Any], Any]
    write: Callable[[Any], str]
    shape: Any


def compile_payload(payload: type[Payload]) -> Compiled:
    """Compile a payload; OwnRulesError or TypeError where only pydantic can read it."""
    compiler = _Compiler()
    name = compiler.model(payload)
    names = compiler.names
    exec(compile("\n".join(compiler.source), f"<codec of {payload.__name__}>", "exec"), names)  # noqa: S102  it holds no name but of fields
    return Compiled(names[f"load_{name}"], names[f"read_{name}"], names[f"dump_{name}"], compiler.shapes[name])


def _refuse(_: Any) -> Any:
    raise SurpriseError


@cache
def compiled(payload: type[Payload]) -> Compiled:
    """Give what is compiled of a payload; of one that only pydantic can read, functions that refuse all."""
    try:
        made = compile_payload(payload)
    except (OwnRulesError, TypeError):
        return Compiled(_refuse, _refuse, _refuse, None)
    return made if payload not in codec.upgrades else Compiled(_of_today(payload, made), _refuse, made.write, None)


def _of_today(payload: type[Payload], made: Compiled) -> Callable[[Any], Any]:
    """Give a loader that leaves what is of an older shape to the codec, which upgrades it."""

    def load(data: Row) -> Any:
        stored = plain_row(data)
        fields = {name: codec.decode(value, (name,)) for name, value in stored.items()}
        before = {name: codec.decode(value, (name,)) for name, value in stored.items()}
        if codec.upgraded(payload, fields) != before:
            raise SurpriseError
        return made.load(data)

    return load


_SURPRISES = (SurpriseError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError)


def load(payload: type[P], data: Mapping[str, AttributeValue]) -> P:
    """Make a payload of ``Data`` as it was read, in either form; CodecError names what does not fit."""
    made = compiled(payload)
    try:
        loaded: P = (made.load if type(data) is dict else made.read)(data)
    except _SURPRISES:
        return codec.load(payload, plain_row(data) if type(data) is dict else plain(data))  # type: ignore[arg-type]  # a shape
    return loaded


def written(payload: Payload) -> bytes | None:
    """Write ``Data`` of a payload whose values are what is stored, field by field, as JSON; None of any other, a surprise."""
    try:
        return f"{{{compiled(type(payload)).write(payload)}}}".encode()
    except _SURPRISES:
        return None


def write(payload: Payload) -> bytes:
    """Write ``Data`` of a payload as JSON; CodecError names a field that was changed past validation to what cannot be kept."""
    return written(payload) or to_json(codec.dump(payload))


def dump(payload: Payload) -> WireMap:
    """Make ``Data`` of a payload; CodecError as :func:`write`."""
    return plain_row(decode_row(write(payload)))


@cache
def row_decoder(payload: type[Payload]) -> RowDecoder:
    """Give the decoder of one entity's rows."""
    return RowDecoder(payload)


class RowDecoder:
    """
    Decodes rows of one entity, straight into its payload's shape where they fit it.

    The shape has no place for unknown fields: a row that has one is decoded anew, as attribute values of any kind, and so are
    the rows after it for a while, since such rows seldom come alone.
    """

    def __init__(self, payload: type[Payload]) -> None:
        shape = compiled(payload).shape
        top = AttributeValue
        if shape is not None:
            top = _struct("Top", {"S": str, "N": str, "M": shape, "BOOL": bool, "NULL": bool})
        self._decode = msgspec.json.Decoder(dict[str, top]).decode  # type: ignore[valid-type]  # made here
        self._tolerant = 0

    def __call__(self, content: bytes | msgspec.Raw) -> Row:
        """Decode one row."""
        if self._tolerant > 0:  # threads that count together may pass zero
            self._tolerant -= 1
            return decode_row(content)
        try:
            return self._decode(content)  # what it gives answers as attribute values do
        except (ValueError, RecursionError):
            self._tolerant = _TOLERANT_ROWS
            return decode_row(content)


_TOLERANT_ROWS = 100
