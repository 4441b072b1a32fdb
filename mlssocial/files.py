"""Files of jobs: there whole or not at all, for their user alone, since the table lies in them; and read with suspicion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

T = TypeVar("T")


def private(path: Path, *, anew: bool = True) -> BinaryIO:
    """Open a file for writing, for its user alone."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | (os.O_CREAT | os.O_TRUNC if anew else 0)
    return os.fdopen(os.open(path, flags, 0o600), "r+b")


def replace_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, the old one or the new, whenever the process ends. OSError where it cannot be."""
    new = path.with_name(f"{path.name}.new")
    with private(new) as file:
        file.write(content)
    new.replace(path)


def read_as(content: bytes, kind: type[T]) -> T:
    """Give what the JSON text of a file holds; ValueError, with the reason, where it is not what a job has written."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
