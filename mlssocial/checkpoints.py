"""
A job's checkpoint: a file that is there whole, the old one or the new, and is one run's at a time.

Beside it lies a lock file for as long as a run has it. The lock is the operating system's and goes with the process, however
that ends; a file that is left over locks nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .exceptions import ConfigurationError
from .files import replace_whole

if sys.platform != "win32":  # there nothing guards a checkpoint
    import fcntl

_locks: set[int] = set()


class Checkpoint:
    """A checkpoint's file, which this process has alone; see :func:`held`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """Give what it holds, None where there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{self.path}: the checkpoint cannot be read: {error.strerror}") from error

    def write(self, content: bytes) -> None:
        """Replace it, so that it is there whole whenever the process ends."""
        try:
            replace_whole(self.path, content)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def remove(self) -> None:
        """Remove it: the job is done."""
        self.path.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Checkpoint]:
    """Have a checkpoint to oneself; ConfigurationError where another run has it, in this process or another."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        file = _locked(lock)
    except BlockingIOError:
        raise ConfigurationError(
            f"{path}: another run goes on with this checkpoint; wait for it, or name another file"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _unwritable(path, error) from error
    _locks.add(file)
    try:
        yield Checkpoint(path)
    finally:
        with suppress(OSError):
            lock.unlink()  # before it is given up: the next run makes its own
        _locks.discard(file)
        os.close(file)


def _locked(lock: Path) -> int:
    """Open and lock a file; BlockingIOError where it is locked."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(file, lock):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its last holder removed it in between


def _is_there(file: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _unwritable(path: Path, error: OSError | ValueError) -> ConfigurationError:
    return ConfigurationError(f"{path}: the checkpoint cannot be written: {getattr(error, 'strerror', error)}")


def _let_go() -> None:
    """Close a forked child's copies: it would keep its parent's locks after the parent's end."""
    while _locks:
        os.close(_locks.pop())


if hasattr(os, "register_at_fork"):  # pragma: no branch  Windows has none, and no fork
    os.register_at_fork(after_in_child=_let_go)
