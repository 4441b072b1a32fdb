"""How far an import is: what its checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mlssocial.checkpoints import Checkpoint
from mlssocial.connection import store
from mlssocial.exceptions import ConfigurationError
from mlssocial.files import read_as

from .report import ImportReport
from .sources import Mark
from .targets import Target

_FORMAT = 1


@dataclass(slots=True)
class Progress:
    """
    How far an import is.

    Attributes:
        marks: Where each source goes on. They stay when all is done: the next import reads what is new.
        requests: How many requests were sent to servers, by the hour.
        rejected: How long the file of rejected records is, None where nothing was written to it.
        finished: Whether the run that wrote this came to its end.
    """

    table: str
    user_id: str
    provider: str
    report: ImportReport
    marks: dict[str, Mark] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    rejected: int | None = None
    finished: bool = False
    format: int = _FORMAT


def begun(target: Target, file: Checkpoint | None) -> Progress:
    """
    Give what to go on from; where a run was interrupted, with its report.

    Raises:
        ConfigurationError: The checkpoint cannot be read, or is another import's.
    """
    held = store()
    table = " ".join(filter(None, (held.table_name, held.client.meta.region_name, held.settings.endpoint_url)))
    new = Progress(table, target.user_id, target.provider, ImportReport(dry_run=target.dry_run))
    content = None if file is None else file.read()
    if file is None or content is None:
        return new
    found = _decoded(content, file.path)
    for name in ("format", "table", "user_id", "provider"):
        was, now = getattr(found, name), getattr(new, name)
        if was != now:
            reason = f"it is the checkpoint of another import, with {name} {was} and not {now}"
            raise ConfigurationError(f"{file.path}: {reason}; go on as that one began, or remove the file to begin anew")
    if found.finished or target.dry_run:
        found.report, found.rejected = new.report, None
    found.finished = False
    return found


def _decoded(content: bytes, path: Path) -> Progress:
    try:
        return read_as(content, Progress)
    except ValueError as error:
        raise ConfigurationError(f"{path}: it cannot be read as an import's checkpoint ({error}); name another file") from None
