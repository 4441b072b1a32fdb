"""An export's manifest: what its files are, and whether they still are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from .exceptions import ConfigurationError, InvalidExportError

MANIFEST = "manifest.json"
DATA_FOLDER = "data"
"""The files with items lie in a folder of their own, which DynamoDB's import from S3 is given as its prefix."""

DYNAMODB_JSON, CSV = "dynamodb-json", "csv"
_VERSION = 1
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DataFile:
    """
    A file with items.

    Attributes:
        name: Its path below the export's folder.
        items: How many items it has.
        size: Its length in bytes.
        sha256: Of its bytes.
    """

    name: str
    items: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    What an export is. It is written last: where there is none, the export has not ended.

    Attributes:
        format: ``dynamodb-json`` or ``csv``.
        table: The table's name.
        began: When it began, ISO 8601 in UTC. An export is no snapshot: what was written meanwhile may be in it or not.
        ended: When it ended.
        items: How many items it has, by EntityType; under an empty name those without one.
        tokens: How many tokens it has, by how they lie in it: ``sealed``, ``sealed_for_export``, ``clear``.
        files: Its files.
    """

    format: str
    table: str
    began: str
    ended: str
    items: Mapping[str, int]
    tokens: Mapping[str, int]
    files: list[DataFile]
    version: int = _VERSION

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        new = folder / f"{MANIFEST}.new"
        with private(new) as file:
            file.write(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        new.replace(folder / MANIFEST)

    def verify(self, folder: Path, progress: Callable[[int], None] | None = None) -> None:
        """Read every file, and compare it with what was written; InvalidExportError names one that is another."""
        read = 0
        for file in self.files:
            path = folder / file.name
            if path.parent != folder / DATA_FOLDER or not path.is_file():
                raise InvalidExportError(str(path), "the manifest names it, and it is not there; restore from a whole copy")
            if (path.stat().st_size, digest(path)) != (file.size, file.sha256):
                raise InvalidExportError(str(path), "it was altered or cut since it was exported; restore from a whole copy")
            read += file.size
            if progress is not None:
                progress(read)


def read_manifest(folder: Path) -> Manifest:
    """Read an export's manifest; InvalidExportError if there is none, or another release wrote it."""
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise InvalidExportError(str(path), "there is none: this is no export, or it has not ended") from None
    except OSError as error:
        raise InvalidExportError(str(path), f"it cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidExportError(str(path), f"it is no manifest of an export ({error})") from None
    if found.version != _VERSION:
        raise InvalidExportError(str(path), f"it is of version {found.version}, and this release reads {_VERSION}")
    return found


def digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


@dataclass(slots=True)
class Part:
    """How far a file of an export is written: what lies beyond is of a page that was interrupted."""

    name: str
    items: int = 0
    size: int = 0


def append(folder: Path, part: Part, content: bytes, items: int) -> None:
    """Put a page behind what a file has by its checkpoint; what lies there of an interrupted page is cut off."""
    path = folder / part.name
    try:
        with private(path, anew=not part.size) as file:
            if file.seek(0, os.SEEK_END) < part.size:
                reason = "it is shorter than its checkpoint says; remove the folder and begin anew"
                raise InvalidExportError(str(path), reason)
            file.truncate(part.size)
            file.seek(part.size)
            file.write(content)
    except OSError as error:
        raise ConfigurationError(f"{path}: the export cannot be written: {error.strerror}") from error
    part.items += items
    part.size += len(content)


def private(path: Path, *, anew: bool = True) -> BinaryIO:
    """Open a file for writing, for its user alone: an export has what the table has."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | (os.O_CREAT | os.O_TRUNC if anew else 0)
    return os.fdopen(os.open(path, flags, 0o600), "r+b")
