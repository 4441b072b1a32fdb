"""What looks for a secret where none may be: in whatever an object, an error, a log or a stream shows of itself."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import pprint
import reprlib
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import django
import tblib.pickling_support
from django.conf import settings as django_settings
from django.views.debug import ExceptionReporter
from pydantic import BaseModel
from pynamodb.models import Model
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from mlssocial import MLSSocialError

CANARY = "EAABcanary/7f+Zq9?x&W3~Kvé8mQtB5rJ2sXnLw4HdYgPc6T"
REFRESH = "1//canary-Xp4Lr8Vn+Bw2/Tz6&Qk0=Hy9~Gm3NJd7FsRuCe5"
KEY = base64.b64encode(bytes(range(160, 192))).decode()
"""A key to seal tokens with."""

_BLOCK = 11
"""How many characters in a row are looked for, at every so many: what cuts long text off shows its beginning."""

if not django_settings.configured:
    django_settings.configure(DEBUG=True, SECRET_KEY="x")
    django.setup()


tblib.pickling_support.install()  # as Dask does: from then on errors pickle along with their causes and contexts


def forms(secret: str) -> Iterator[str]:
    """Give text in every form in which it might be shown."""
    yield from (secret, ascii(secret)[1:-1], json.dumps(secret)[1:-1], escape(secret), secret[::-1])
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield from forms_of_bytes(secret.encode())


def forms_of_bytes(content: bytes) -> Iterator[str]:
    """Give bytes in every form in which they might be shown."""
    yield from (repr(content)[2:-1], content.hex(), str(list(content))[1:-1])
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * shift + content).decode()[4 if shift else 0 : -4]


def _blocks() -> Iterator[str]:
    for form in (*forms(CANARY), *forms(REFRESH), *forms(KEY), *forms_of_bytes(base64.b64decode(KEY))):
        yield from (form[start : start + _BLOCK] for start in range(0, len(form) - _BLOCK + 1, _BLOCK))


_LEAKS = sorted(set(_blocks()))


def leak_in(text: str) -> str | None:
    """Give the place where a secret, or a piece of it, is shown in whatever form; None where none is."""
    for block in _LEAKS:
        if (place := text.find(block)) >= 0:
            return text[max(0, place - 150) : place + 60]
    return None


class Watch(logging.Handler):
    """
    Looks at all that is shown to it, and at every record of every logger.

    Attributes:
        leaks: Where a secret was shown, and how.
        looked_at: How many texts were looked at.
        loggers: Whose records were.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: dict[str, str] = {}
        self.looked_at = 0
        self.loggers: set[str] = set()

    def see(self, what: str, text: str) -> None:
        """Look at a text."""
        self.looked_at += 1
        found = leak_in(text)
        if found is not None:
            self.leaks.setdefault(what, found)

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record of a logger."""
        self.loggers.add(record.name.split(".")[0])
        shown = f"{record.getMessage()}\n{vars(record)!r}"
        if record.exc_info:
            shown += logging.Formatter().formatException(record.exc_info)
        self.see(f"log of {record.name}: {record.msg}", shown)

    def see_file(self, path: Path) -> None:
        """Look at a file."""
        self.see(f"file {path.name}", path.read_bytes().decode("latin-1"))

    def see_value(self, what: str, value: Any) -> None:
        """Look at what a value shows of itself in every way that there is."""
        for way, text in shown(value):
            self.see(f"{what}: {way}", text)

    def see_error(self, what: str, error: BaseException) -> None:
        """Look at an error: what it says and holds, its pickle, and its traceback with the locals of every frame."""
        if isinstance(error, MLSSocialError):
            back = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
            assert (type(back), str(back)) == (type(error), str(error))
        for one in chain(error):
            self.see_value(f"{what}: {type(one).__name__}", one)
        for way, text in told(error):
            self.see(f"{what}: {way}", text)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, and those that are shown along with it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        hidden = error.__cause__ is None and error.__suppress_context__
        error = None if hidden else error.__cause__ or error.__context__


def told(error: BaseException) -> Iterator[tuple[str, str]]:
    """Give the locals of an error's frames, as the standard library, rich and Django's debug page have them."""
    yield "traceback", "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    for length in (80, 100_000):  # as it cuts text off by default, and whole
        trace = Traceback.extract(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=length, locals_max_length=1000
        )
        nodes = [node for stack in trace.stacks for frame in stack.frames for node in (frame.locals or {}).values()]
        yield "rich", "\n".join(map(str, nodes))
    page = ExceptionReporter(None, type(error), error, error.__traceback__)
    yield "Django", repr([frame.get("vars") for frame in page.get_traceback_frames()])


def shown(value: Any) -> Iterator[tuple[str, str]]:
    """Give every text that a value gives of itself unasked."""
    yield "repr", repr(value)
    yield "str", str(value)
    yield "format", f"{value} {value!r} {value!a}"
    yield "reprlib", reprlib.repr(value)
    yield "pprint", pprint.pformat(value)
    if hasattr(type(value), "_repr_html_"):
        yield "notebook", value._repr_html_()
    for length in (None, 20):
        yield "rich", pretty_repr(value, max_string=length)
    yield "vars", "\n".join(walk(value, set()))
    for way, dumped in dumps(value):
        yield way, dumped if isinstance(dumped, str) else f"{dumped!r} {json.dumps(dumped, default=str, skipkeys=True)}"
    for copied in (copy.copy, copy.deepcopy):
        with suppress(TypeError):  # a generator, a lock
            yield copied.__name__, repr(copied(value))
    with suppress(TypeError, AttributeError, pickle.PicklingError):  # what holds a secret does not pickle
        yield "pickle", repr(pickle.dumps(value))


def dumps(value: Any) -> Iterator[tuple[str, Any]]:
    """Give what the frameworks' own dumps make of a value."""
    if isinstance(value, BaseModel):
        for mode in ("python", "json"):
            yield f"model_dump {mode}", value.model_dump(mode=mode)
            yield f"model_dump {mode}", value.model_dump(mode=mode, by_alias=True, exclude_unset=True)
        yield "model_dump_json", value.model_dump_json()
        yield "dict", dict(value)
        yield "model_copy", value.model_copy(deep=True)
    if isinstance(value, Model):
        for name in ("to_simple_dict", "to_dynamodb_dict", "serialize"):
            yield name, getattr(value, name)()
        yield "attribute_values", value.attribute_values
    if is_dataclass(value) and not isinstance(value, type):
        with suppress(TypeError):
            yield "asdict", asdict(value)
    yield "json", json.dumps(value, default=str, skipkeys=True)


_WALKED = ("mlssocial", "pynamodb", "pydantic", "botocore", "urllib3", "http")
_ENOUGH = 20_000


def walk(value: Any, seen: set[int]) -> Iterator[str]:
    """Follow a value to all that it holds, as somebody does who looks at ``vars()`` of everything."""
    if id(value) in seen or len(seen) > _ENOUGH or isinstance(value, type):
        return
    seen.add(id(value))
    yield repr(value)
    if isinstance(value, Mapping):
        for entry in (*value.keys(), *value.values()):
            yield from walk(entry, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from walk(entry, seen)
    if hasattr(value, "__dict__") and type(value).__module__.startswith(_WALKED):
        yield from walk(vars(value), seen)
