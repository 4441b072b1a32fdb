"""From the global options and the environment to the table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mlssocial
from mlssocial.settings import LOCAL_PREFIX, changed, scoped, using

if TYPE_CHECKING:
    from .options import Globals


def configure(options: Globals) -> bool:
    """
    Put the options in force, over an application's settings where it runs the command, else over the environment's.

    Where neither an option nor the environment names a table or an endpoint, the embedded engine in a file of the user's takes
    its place, and stderr says so; not so under an application, which would not see that file. True where a table is to be made
    unasked: in that file, and in memory, where none can be there yet.

    Raises:
        ConfigurationError: What is configured cannot work.
    """
    named = {
        "table_name": options.table,
        "region": options.region,
        "endpoint_url": options.endpoint,
        "profile": options.profile,
    }
    given = {name: value for name, value in named.items() if value is not None}
    settings = options.settings or mlssocial.Settings.from_env()
    if options.settings or given.keys() & {"table_name", "endpoint_url"} or settings.table_name or settings.endpoint_url:
        return _put_in_force(settings, given).endpoint_url == LOCAL_PREFIX
    endpoint = f"local:{_data_folder() / 'homes.db'}"
    hint = "--table or MLSSOCIAL_TABLE_NAME for DynamoDB"
    click.echo(f"no table is configured: using the embedded engine, {endpoint}; {hint}", err=True)
    mlssocial.configure(settings, **given | {"endpoint_url": endpoint})
    return True


def _put_in_force(settings: mlssocial.Settings, given: dict[str, Any]) -> mlssocial.Settings:
    """Put settings in force for the process; for this command alone where an application has put its own into the context."""
    if scoped() is None:
        return mlssocial.configure(settings, **given)
    made = changed(settings, given) if given else settings
    click.get_current_context().with_resource(using(made))
    return made


def connect(options: Globals) -> None:
    """Put the options in force; an embedded engine that nobody could have made a table in has one made."""
    if configure(options):
        mlssocial.create_table()


def _data_folder() -> Path:
    """Make the folder of this program's data, for its user alone."""
    # https://specifications.freedesktop.org/basedir-spec/latest/
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    folder = Path(base).expanduser() / "mlssocial"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise mlssocial.ConfigurationError(f"{folder}: {error.strerror}; give --table or --endpoint") from error
    return folder
