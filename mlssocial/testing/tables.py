"""A fresh table for a test, on the engine that it asks for."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from mlssocial import create_table
from mlssocial.connection import store
from mlssocial.exceptions import ConfigurationError, StoreError
from mlssocial.settings import Settings, configure, restored

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL, MOTO = "local", "moto"
TOKEN_KEYS = {"test": "bWxzc29jaWFsLCBhIGtleSB0aGF0IHRlc3RzIHVzZSE="}
"""A key that everybody knows, so that tokens are sealed in tests as they are elsewhere."""


@contextmanager
def fresh_table(engine: str = LOCAL, **changes: Any) -> Iterator[Settings]:
    """
    Put a new, empty table in force for a block, in every thread, and give its settings; drop it afterwards.

    Nothing is taken over of what was configured, the environment included, and it is put back whatever the block configures.

    Args:
        engine: ``local``, the embedded engine in memory (extra ``local``); ``moto``, which has to be installed; or the URL of
            an endpoint such as DynamoDB Local's, with credentials from the environment.
        changes: Further settings, such as ``transport="botocore"``.

    Raises:
        ConfigurationError: The engine is missing, or a setting cannot work.
    """
    how: dict[str, Any] = {"table_name": f"mlssocial-test-{uuid.uuid4().hex[:12]}", "region": "us-east-1"}
    how |= {"endpoint_url": _endpoint(engine), "token_keys": TOKEN_KEYS}
    with ExitStack() as stack:
        stack.enter_context(restored())
        if engine == MOTO:
            stack.enter_context(_moto())
        settings = configure(Settings(**how | changes))
        create_table()
        try:
            yield settings
        finally:
            configure(settings)
            _drop(settings.table_name)


def _drop(table_name: str) -> None:
    try:
        store().call("DeleteTable", {"TableName": table_name})
    except StoreError as error:
        if error.code != "ResourceNotFoundException":  # the test has dropped it itself
            raise
    finally:
        store().close()


def _endpoint(engine: str) -> str | None:
    if engine in {LOCAL, MOTO}:
        return "local:" if engine == LOCAL else None
    if "://" not in engine:
        raise ConfigurationError(f"engine: 'local', 'moto' or an endpoint's URL is needed, not {engine!r}")
    return engine


def _moto() -> Any:
    try:
        from moto import mock_aws
    except ImportError as error:
        raise ConfigurationError("the engine moto is not installed: pip install 'moto[dynamodb]'") from error
    return mock_aws()
