"""Migrations as files of the user's project: ``0001_name.py``, each with a ``transform`` and what it is about."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from . import migration_templates as templates
from .exceptions import ConfigurationError
from .schema import ENTITIES
from .transforms import Transform

_FILE = re.compile(r"(\d{4,})_([a-z0-9_]+)\.py", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Migration:
    """
    A migration's file. It pickles with its text: a worker in another process needs no file.

    Attributes:
        name: Such as ``0001_zip``.
        path: Where it was read.
        source: Its text.
    """

    name: str
    path: str
    source: str

    @property
    def checksum(self) -> str:
        """A hash of its text: which text was applied."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]

    @property
    def entities(self) -> tuple[str, ...]:
        """The EntityTypes that it is about."""
        return tuple(self._module().entities)

    @property
    def goes_down(self) -> bool:
        """Whether it has a ``down``."""
        return hasattr(self._module(), "down")

    def check(self) -> None:
        """Load it; ConfigurationError if it cannot be, or lacks something."""
        self._module()

    def up(self) -> Transform:
        """Give its transform, with its filter."""
        module = self._module()
        transform, where = module.transform, getattr(module, "where", None)
        return transform if where is None else lambda item: transform(item) if where(item) else None

    def down(self) -> Transform:
        """Give what undoes its transform. It chooses its items itself: the filter is for those of the older shape."""
        down: Transform = self._module().down
        return down

    def _module(self) -> Any:
        return _loaded(self.name, self.path, self.source)


def found(folder: Path) -> list[Migration]:
    """Read a folder's migrations, by their numbers; ConfigurationError where one cannot be read, or two have one number."""
    try:
        files = sorted((path for path in folder.iterdir() if _FILE.fullmatch(path.name)), key=_number)
        read = [Migration(path.stem, str(path), path.read_text(encoding="utf-8")) for path in files]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise ConfigurationError(
            f"{folder}: its migrations cannot be read: {reason}; 'mlssocial migrations new' begins"
        ) from error
    for one, next_one in pairwise(files):
        if _number(one) == _number(next_one):
            raise ConfigurationError(f"{folder}: {one.name} and {next_one.name} have the same number; rename one")
    return read


def made(folder: Path, name: str, template: str) -> Path:
    """Write a new migration's file, with the next number."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no migration's name: lower-case letters, digits and _ are, such as zip_code")
    if template not in templates.TEMPLATES:
        raise ConfigurationError(f"{template!r} is no template; there are {', '.join(sorted(templates.TEMPLATES))}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [_number(path) for path in folder.iterdir() if _FILE.fullmatch(path.name)]
        path = folder / f"{max(numbers, default=0) + 1:04}_{name}.py"
        with path.open("x", encoding="utf-8") as file:
            file.write(templates.TEMPLATES[template])
    except OSError as error:
        raise ConfigurationError(f"{folder}: a migration cannot be written there: {error.strerror}") from error
    return path


def _number(path: Path) -> int:
    return int(path.name.partition("_")[0])


@lru_cache(64)
def _loaded(name: str, path: str, source: str) -> ModuleType:
    """Run a migration's text as a module."""
    module = ModuleType(f"mlssocial_migration_{name}")
    module.__file__ = path
    try:
        exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102  the user's own code, which is what a migration is
    except Exception as error:
        raise ConfigurationError(f"{path}: it cannot be loaded: {type(error).__name__}: {error}") from error
    entities = getattr(module, "entities", ())
    if not isinstance(entities, tuple | list) or not entities or not all(entity in list(ENTITIES) for entity in entities):
        raise ConfigurationError(f"{path}: entities: one or more of {', '.join(ENTITIES)} are needed, not {entities!r}")
    if not callable(getattr(module, "transform", None)):
        raise ConfigurationError(f"{path}: it has no transform(item)")
    return module
