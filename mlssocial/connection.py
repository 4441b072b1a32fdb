"""
The way to the table: one holder of one connection, following the settings in force.

Credentials, endpoints, TLS, proxies and hooks are botocore's. Retries are ours: botocore re-sends a write whose answer was
lost, and nobody can say afterwards how often it was applied. Reads are tried again until the deadline, and so is a transaction
that carries its token; a write only where DynamoDB has said that it did nothing, or where it never left.
"""

from __future__ import annotations

import math
import os
import random
import time
from enum import Enum
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import botocore.session
import msgspec
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProfileNotFound,
)
from botocore.loaders import create_loader
from pynamodb.connection.base import Connection, MetaTable
from pynamodb.connection.table import TableConnection

from . import components, operations
from .components import until
from .exceptions import ConfigurationError, MLSSocialError, StoreError, store_error
from .masked import without_frames
from .operations import recorded as recorded
from .schema import expired, now_millis
from .settings import Settings, are_everyones, table_settings
from .transport import Transport
from .wire import AttributeValue, Row, decode_row

if TYPE_CHECKING:
    from collections.abc import Iterator

READS = frozenset({"GetItem", "Query", "Scan", "BatchGetItem", "TransactGetItems"})
CONTROL = frozenset({"DescribeTable", "CreateTable", "DescribeTimeToLive", "UpdateTimeToLive", "DeleteTable", "ListTables"})

_METHODS = {
    "GetItem": "get_item",
    "Query": "query",
    "Scan": "scan",
    "BatchGetItem": "batch_get_item",
    "BatchWriteItem": "batch_write_item",
    "TransactGetItems": "transact_get_items",
    "TransactWriteItems": "transact_write_items",
    "PutItem": "put_item",
    "UpdateItem": "update_item",
    "DeleteItem": "delete_item",
    "DescribeTable": "describe_table",
    "CreateTable": "create_table",
    "DescribeTimeToLive": "describe_time_to_live",
    "UpdateTimeToLive": "update_time_to_live",
    "DeleteTable": "delete_table",
    "ListTables": "list_tables",
}

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_NOT_APPLIED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TransactionConflictException",
    }
)
# Why a transaction was cancelled that may go through the next time; "None" is an operation that was not the cause.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_CANCELED = "TransactionCanceledException"
_CONDITIONAL = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
PASSING_REASONS = frozenset({"None", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_LEAST_TIME = 0.05
"""The part of a deadline below which no further attempt is begun."""
NEAR_SECONDS = 0.002
"""An answer that comes faster is not worth a thread: DynamoDB takes longer over a batch, an engine at hand does not."""


class AnswerLostError(MLSSocialError):
    """A write was sent and its answer did not arrive; the write engine finds out, and never lets this one out."""


class RefusedError(MLSSocialError):
    """
    A condition failed. The write engine says which and never lets this one out.

    Attributes:
        item: The item that is there, None where there is none.
    """

    def __init__(self, item: Row | None) -> None:
        super().__init__("a condition failed")
        self.item = item


class CanceledError(MLSSocialError):
    """
    A transaction was cancelled, and nothing of it was written. What sent it says why and never lets this one out.

    Attributes:
        reasons: For each of the request's operations, in the request's order: DynamoDB's ``Code`` (``"None"`` where it was not
            the cause), its ``Message`` or None, and as ``Item`` the row that is there, None where there is none or the
            operation did not ask for it.
    """

    def __init__(self, reasons: list[dict[str, Any]]) -> None:
        super().__init__(f"a transaction was cancelled: {', '.join(reason['Code'] for reason in reasons)}")
        self.reasons = reasons


class Patience:
    """
    Growing pauses with full jitter, until a deadline: one for a public call, however many requests it takes.

    Attributes:
        until: The deadline, on the clock of ``time.monotonic()``.
    """

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self._least = seconds * _LEAST_TIME
        self._pause = _FIRST_PAUSE

    def to_look(self) -> Patience:
        """Give the patience for one look at what became of a lost write: the time that is left, a twentieth of all at least."""
        return Patience(max(self.until - time.monotonic(), self._least))

    def wait(self) -> bool:
        """
        Wait for the next attempt; False, at once, where it would come after the deadline.

        Or so shortly before it that it would be cut off: a write that was throttled is known not to have been applied, and one
        that was cut off is not.
        """
        left = self.until - self._least - time.monotonic()
        if left <= 0:
            return False
        pause = random.uniform(0, self._pause)  # noqa: S311  full jitter is no secret
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        time.sleep(min(pause, left))
        return True


class Store:
    """The connection to one table under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.table_name = settings.table_name
        self._lock = Lock()
        self._client: Any = None
        self._closed = False
        self._transport: Transport | None = None
        self._last_seconds = math.inf, math.inf

    @property
    def is_near(self) -> bool:
        """Tell whether answers come so fast that to wait for several at once is not worth the threads; one may be late."""
        return min(self._last_seconds) < NEAR_SECONDS

    def close(self) -> None:
        """Close the connections, botocore's as well; calls that are under way finish, and theirs is closed then."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()
        if self._client is not None:
            self._client.close()

    @property
    def client(self) -> Any:
        """The botocore client, made at first use."""
        if self._client is None:
            with self._lock:  # botocore's client creation is not thread-safe
                if self._client is None:
                    self._client = self._make_client()
                    if self._closed:
                        self.close()
        return self._client

    def patience(self) -> Patience:
        """Give the patience for one public call. It begins when there is a client: making one is not the call's time."""
        if self._client is None:
            self.client  # noqa: B018
        return Patience(self.settings.deadline)

    def call(self, operation: str, request: dict[str, Any], *, patience: Patience | None = None) -> dict[str, Any]:
        """
        Send one operation and give the answer.

        The deadline holds for all attempts together; with *patience*, for all requests that are sent with it.

        Raises:
            RefusedError: A condition failed.
            CanceledError: A transaction was cancelled.
            AnswerLostError: A write was sent, and nobody knows.
            StoreError: DynamoDB refused, or could not be reached before the deadline.
        """
        if not operations.is_watched():
            return self._call(operation, request, patience or self.patience())
        with operations.running(operation):
            request = request if operation in CONTROL else operations.asked(request)
            answer = self._call(operation, request, patience or self.patience())
            operations.consumed(answer, read=operation in READS)
            return answer

    def _call(self, operation: str, request: dict[str, Any], patience: Patience) -> dict[str, Any]:
        repeatable = operation in READS or "ClientRequestToken" in request
        lost = False
        while True:
            try:
                return self._send(operation, request, patience.until)
            except (ClientError, BotoCoreError) as error:
                fate = _fate(error)
                lost = lost or fate is _Fate.LOST
                again = fate is _Fate.NOT_DONE or (fate is _Fate.LOST and repeatable)
                if not again or not patience.wait():
                    raise _translated(operation, request, error, lost=lost) from without_frames(error)

    def _send(self, operation: str, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        client, started, before = self.client, time.perf_counter(), until.set(deadline)
        try:
            method, transport = _METHODS[operation], self._transport
            answer: dict[str, Any] = (
                getattr(client, method)(**request) if transport is None else transport.call(method, operation, request)
            )
        except ClientError as error:
            components.check_refusal(request, error.response)
            raise
        finally:
            until.reset(before)
            seconds = time.perf_counter() - started
            operations.sent(operation, self.table_name, request.get("IndexName"), seconds)
        components.check_shown(request, answer)
        self._last_seconds = self._last_seconds[1], seconds
        return answer

    def _make_client(self) -> Any:
        settings = self.settings
        session = botocore.session.Session(profile=None if settings.is_local else settings.profile)
        session.register_component("response_parser_factory", components.ParserFactory())
        options: dict[str, Any] = {"region_name": settings.region, "endpoint_url": settings.endpoint_url}
        if settings.is_local:
            from . import local  # here, since SQLite and the rest of it are for the embedded engine alone

            options = {
                "region_name": settings.region or "us-east-1",
                "endpoint_url": local.DUMMY_ENDPOINT,
                "aws_access_key_id": "local",
                "aws_secret_access_key": "local",
            }
        try:
            session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
            client = session.create_client("dynamodb", config=self._config(), **options)
        except (ProfileNotFound, ValueError) as error:
            raise ConfigurationError(f"no client can be made: {error}") from error
        except BotoCoreError as error:
            raise store_error("connect", error) from error
        if settings.is_local:
            local.attach(client, settings.endpoint_url or "")
        components.install(client)
        if settings.transport == "direct":
            self._transport = Transport(client)
            self._transport.install()
        return client

    def _config(self) -> Config:
        return Config(
            connect_timeout=self.settings.connect_timeout,
            read_timeout=self.settings.read_timeout,
            max_pool_connections=int(self.settings.max_pool_connections),
            parameter_validation=False,  # requests are built here, from values that were checked where they entered
            retries={"mode": "standard", "total_max_attempts": 1},  # in its legacy mode DynamoDB has ten all the same
            user_agent_extra="mlssocial",
        )


@cache
def _loader(data_path: str | None) -> Any:
    """Give botocore's loader of service descriptions: parsing them anew is four fifths of what another client costs."""
    return create_loader(data_path)


class _Fate(Enum):
    """What became of a request that failed."""

    REFUSED = "it was refused, and will be again"
    NOT_DONE = "it did nothing, and may be sent again"
    LOST = "nobody knows"


def _fate(error: Exception) -> _Fate:
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code")
        if code in _NOT_APPLIED or (code == _CANCELED and _reasons(error) <= PASSING_REASONS):
            return _Fate.NOT_DONE
        failed = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
        # A transaction in progress is this one: an earlier attempt of ours, under the same token.
        return _Fate.LOST if failed or code == "TransactionInProgressException" else _Fate.REFUSED
    if isinstance(error, ConnectTimeoutError | EndpointConnectionError):
        return _Fate.NOT_DONE  # nothing was sent
    return _Fate.LOST if isinstance(error, HTTPClientError) else _Fate.REFUSED


def _reasons(error: ClientError) -> set[str]:
    return {reason.get("Code") for reason in error.response.get("CancellationReasons", ())} or {_CANCELED}


def _translated(operation: str, request: dict[str, Any], error: Exception, *, lost: bool) -> MLSSocialError:
    """Make the error that is raised; *lost* where an attempt, this one or an earlier, may have been applied."""
    response = error.response if isinstance(error, ClientError) else {}
    code = response.get("Error", {}).get("Code")
    if code == "ConditionalCheckFailedException" and operation in _CONDITIONAL:
        return RefusedError(response.get("Item"))
    # Had an earlier attempt been applied, DynamoDB would have known the token: a refusal is the answer to all of them.
    if code == _CANCELED and operation not in READS and not (lost and _fate(error) is _Fate.NOT_DONE):
        reasons = response.get("CancellationReasons", ())
        members = [{"Code": str(one.get("Code")), "Message": one.get("Message"), "Item": one.get("Item")} for one in reasons]
        return CanceledError(members)
    if lost and operation not in READS | CONTROL:
        return AnswerLostError(str(error))
    index, table = request.get("IndexName"), request.get("TableName") or ", ".join(request.get("RequestItems", ()))
    return store_error(f"{operation} on {table}{f' ({index})' if index else ''}", error)


_lock = Lock()
_store: Store | None = None
_apart: dict[int, Store] = {}
_MOST_APART = 8


def store() -> Store:
    """Give the connection under the settings in force; a new one as soon as they have changed."""
    settings = table_settings()
    held = _store
    if held is not None and held.settings is settings:
        return held
    with _lock:
        return _replaced(settings) if are_everyones(settings) else _kept_apart(settings)


def _replaced(settings: Settings) -> Store:
    """Give the process's connection, in the place of one under settings that are no longer in force."""
    global _store
    held = _store
    if held is None or held.settings is not settings:
        if held is not None:
            held.close()
        held = _store = Store(settings)
    return held


def _kept_apart(settings: Settings) -> Store:
    """Give the connection under settings of one context alone, which is kept for the next such context."""
    if id(settings) not in _apart:
        while len(_apart) >= _MOST_APART:
            _apart.pop(next(iter(_apart))).close()
        _apart[id(settings)] = Store(settings)
    return _apart[id(settings)]


def release() -> None:
    """Close the connection under the settings in force and forget it; the next call makes another."""
    global _store
    settings = table_settings()
    with _lock:
        held = _apart.pop(id(settings), None)
        if _store is not None and _store.settings is settings:
            held, _store = _store, None
    if held is not None:
        held.close()


def pages(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a query's requests, one after the other, each when it is asked for, and give their answers."""
    while True:
        answer = store().call("Query", request)
        yield answer
        if not answer.get("LastEvaluatedKey"):
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _forget() -> None:
    """Drop the connections: a forked child that shared its parent's sockets would read its parent's answers."""
    global _store, _lock
    _store, _lock = None, Lock()
    _apart.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class PynamoConnection(Connection):
    """PynamoDB's connection, for PynamoDB's own reads on the models; its requests go the way of all others."""

    def __repr__(self) -> str:
        """Show it in a traceback, where PynamoDB's would make a client of its own first."""
        return f"<{type(self).__name__}>"

    def _make_api_call(self, operation_name: str, operation_kwargs: dict[str, Any]) -> dict[str, Any]:
        if operation_name not in READS | CONTROL:
            raise StoreError(
                f"{operation_name}: PynamoDB's writes are off, since they leave index keys behind; "
                "write through Model.objects, or item.save() and item.delete()",
                code="NotSupported",
            )
        answer = store().call(operation_name, operation_kwargs)
        kind: type[Any] = PartialRow if "ProjectionExpression" in operation_kwargs else dict
        if "Items" in answer:
            answer["Items"] = [kind(row) for row in _alive(answer["Items"])]
            answer["Count"] = len(answer["Items"])
        if "Item" in answer:
            answer["Item"] = kind(answer["Item"])
        for table, rows in answer.get("Responses", {}).items() if operation_name == "BatchGetItem" else ():
            answer["Responses"][table] = [kind(row) for row in _alive(rows)]
        return answer


def _alive(rows: list[msgspec.Raw]) -> list[Row]:
    now = now_millis()
    return [row for row in map(decode_row, rows) if not expired(row, now)]


class PartialRow(dict[str, AttributeValue]):
    """A row of which only some attributes were asked for; saving what is made of it would lose the rest."""


class PynamoTable(TableConnection):
    """PynamoDB's table connection over :class:`PynamoConnection`."""

    def __init__(self, meta_table: MetaTable) -> None:
        super().__init__(meta_table.table_name)
        self.connection = PynamoConnection()
        self.connection.add_meta_table(meta_table)
