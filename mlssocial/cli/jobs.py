"""The options of the commands that look at every item, segment by segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mlssocial.scans import MAX_SEGMENTS

F = TypeVar("F", bound=Callable[..., Any])


def job_options(command: F) -> F:
    """Add the options of such a command; they are arguments of its function, and of the library's."""
    return segment_options(checkpoint_option(command))


def checkpoint_option(command: F) -> F:
    """Add the option that names a checkpoint."""
    file = click.Path(dir_okay=False)
    return click.option("--checkpoint", metavar="FILE", type=file, help="Go on there after an interruption.")(command)


def segment_options(command: F) -> F:
    """Add the options of a command that reads the table in segments."""
    rate = click.FloatRange(0, min_open=True)
    for decorate in (
        click.option("--executor", metavar="dask://HOST:PORT", help="Have a Dask cluster's workers read; threads otherwise."),
        click.option("--max-read-units", type=rate, metavar="N", help="Read units a second at the most."),
        click.option("--segments", type=click.IntRange(1, MAX_SEGMENTS), default=1, help="How many parts are read at once."),
    ):
        command = decorate(command)
    return command
