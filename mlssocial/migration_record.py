"""
What the table itself says of migrations: which were applied, and which run has the lock.

Both lie in a partition that is no user's, so that no query of a user and no scan for the five entities ever meets them. The
lock is a lease: it has one holder, who renews it from a thread of its own, and it ends by itself where that one has died.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NoReturn

from . import keys
from .connection import AnswerLostError, CanceledError, RefusedError, store
from .exceptions import MigrationLockedError, MLSSocialError, OutcomeUnknownError
from .expressions import Expression
from .schema import ENTITY_TYPE, PK, SK, now_millis
from .wire import Row, decode_row

LEASE_SECONDS = 60.0
"""How long the lock stays where its holder has died."""

_TYPE, _LOCK_TYPE = "Migration", "MigrationLock"
_APPLIED_AT, _CHECKSUM, _BY = "AppliedAt", "Checksum", "By"
_HOLDER, _UNTIL = "Holder", "Until"
_LOCK = {PK: {"S": keys.MIGRATIONS}, SK: {"S": keys.MIGRATION_LOCK}}


@dataclass(frozen=True, slots=True)
class Applied:
    """
    A migration that was applied.

    Attributes:
        name: Its name.
        checksum: Of the text that was applied.
        at: When, in epoch milliseconds.
        by: Who: user, machine and process.
    """

    name: str
    checksum: str
    at: int
    by: str


@dataclass(frozen=True, slots=True)
class Lock:
    """
    Who has the lock.

    Attributes:
        by: User, machine and process.
        until: When the lease ends unless it is renewed, in epoch milliseconds.
    """

    by: str
    until: int

    @property
    def lasts(self) -> bool:
        """Whether the lease has not ended."""
        return self.until >= now_millis()


def applied() -> dict[str, Applied]:
    """Read which migrations were applied, by name, in the order of their names. One query, consistent."""
    found = {}
    for row in _rows():
        if row[SK].S != keys.MIGRATION_LOCK:
            name = keys.parse_migration_keys(row[PK].S or "", row[SK].S or "")
            found[name] = Applied(name, _text(row, _CHECKSUM), int(row[_APPLIED_AT].N or 0), _text(row, _BY))
    return found


def lock() -> Lock | None:
    """Read who has the lock. One consistent read."""
    row = store().call("GetItem", {"TableName": store().table_name, "Key": _LOCK, "ConsistentRead": True}).get("Item")
    return None if row is None else _lock(row)


def unlock() -> Lock | None:
    """Take the lock away from whoever has it, who stops at the next page; give who that was. One request."""
    answer = store().call("DeleteItem", {"TableName": store().table_name, "Key": _LOCK, "ReturnValues": "ALL_OLD"})
    row = answer.get("Attributes")
    return _lock(row) if row else None


class Lease:
    """The lock, as its holder has it; see :func:`leased`."""

    def __init__(self, seconds: float) -> None:
        self._holder, self._by, self._seconds = secrets.token_urlsafe(12), _who(), seconds
        self._until, self._lost, self._ended = 0.0, False, threading.Event()

    def check(self) -> None:
        """MigrationLockedError where the lock was lost: another run may be at work."""
        if self._lost or time.monotonic() > self._until:
            raise MigrationLockedError("this run has lost its lock, which ended or was taken away; what was written stays")

    def record(self, name: str, checksum: str) -> None:
        """Say that a migration was applied, if the lock is still this run's."""
        item = {
            **_record_key(name),
            ENTITY_TYPE: {"S": _TYPE},
            _CHECKSUM: {"S": checksum},
            _APPLIED_AT: {"N": str(now_millis())},
            _BY: {"S": self._by},
        }
        self._write({"Put": {"TableName": store().table_name, "Item": item}})

    def forget(self, name: str) -> None:
        """Say that a migration is applied no longer, if the lock is still this run's."""
        self._write({"Delete": {"TableName": store().table_name, "Key": _record_key(name)}})

    def _write(self, member: dict[str, Any]) -> None:
        expression = Expression()
        check = {"TableName": store().table_name, "Key": _LOCK, **self._is_mine(expression), **expression.request()}
        request = {"TransactItems": [{"ConditionCheck": check}, member], "ClientRequestToken": secrets.token_hex(16)}
        try:
            store().call("TransactWriteItems", request)
        except CanceledError:
            self._lost = True
            self.check()
        except AnswerLostError as error:
            raise OutcomeUnknownError(
                "record migration", None, "the answer was lost; see 'mlssocial migrations status'"
            ) from error

    def take(self) -> None:
        """Take the lock, or one that has ended; MigrationLockedError if another run has it."""
        expression, now = Expression(), now_millis()
        ended = f"{expression.path((_UNTIL,))} < {expression.value({'N': str(now)})}"
        condition = (
            f"attribute_not_exists({expression.path((PK,))}) OR {ended} OR {self._is_mine(expression)['ConditionExpression']}"
        )
        item = {
            **_LOCK,
            ENTITY_TYPE: {"S": _LOCK_TYPE},
            _HOLDER: {"S": self._holder},
            _BY: {"S": self._by},
            _UNTIL: {"N": str(now + int(self._seconds * 1000))},
        }
        until = time.monotonic() + self._seconds
        self._put(
            {
                "TableName": store().table_name,
                "Item": item,
                "ConditionExpression": condition,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **expression.request(),
            }
        )
        self._until = until

    def _put(self, request: dict[str, Any]) -> None:
        """Put the lock; its own holder may put it again, so that a lost answer does no harm."""
        patience = store().patience()
        while True:
            try:
                store().call("PutItem", request, patience=patience)
            except AnswerLostError as error:
                if not patience.wait():
                    raise OutcomeUnknownError("lock migrations", None, f"the answer was lost ({error}); try again") from error
            except RefusedError as refused:
                _refuse(refused.item)
            else:
                return

    def renew(self) -> None:
        """Renew the lease from time to time until it is released or lost."""
        while not self._ended.wait(self._seconds / 4):
            expression = Expression()
            until, ends = time.monotonic() + self._seconds, now_millis() + int(self._seconds * 1000)
            change = f"SET {expression.path((_UNTIL,))} = {expression.value({'N': str(ends)})}"
            try:
                store().call("UpdateItem", self._request(expression, UpdateExpression=change))
            except RefusedError:
                self._lost = True
                return
            except MLSSocialError:  # it is tried again, and the lease ends by itself
                continue
            self._until = until

    def release(self) -> None:
        """Give the lock back, if it is this run's."""
        self._ended.set()
        with suppress(RefusedError, MLSSocialError):  # it ends by itself
            store().call("DeleteItem", self._request(Expression()))

    def _request(self, expression: Expression, **members: Any) -> dict[str, Any]:
        return {"TableName": store().table_name, "Key": _LOCK, **self._is_mine(expression), **members, **expression.request()}

    def _is_mine(self, expression: Expression) -> dict[str, str]:
        return {"ConditionExpression": f"{expression.path((_HOLDER,))} = {expression.value({'S': self._holder})}"}


@contextmanager
def leased(seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
    """Have the lock; MigrationLockedError if another run has it."""
    lease = Lease(seconds)
    lease.take()
    renewing = threading.Thread(target=copy_context().run, args=(lease.renew,), name="mlssocial-lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        lease.release()
        renewing.join()


def _refuse(row: Row | None) -> NoReturn:
    if row is None:
        raise MigrationLockedError("the lock was released this moment; try again")
    held = _lock(row)
    left = max(0, held.until - now_millis()) // 1000 + 1
    remedy = f"wait for it; if it has died its lock ends within {left} s, or 'mlssocial migrations unlock' takes it away"
    raise MigrationLockedError(f"another run has the lock: {held.by}; {remedy}", until=held.until)


def _rows() -> Iterator[Row]:
    expression, after = Expression(), None
    condition = f"{expression.path((PK,))} = {expression.value({'S': keys.MIGRATIONS})}"
    request = {"TableName": store().table_name, "KeyConditionExpression": condition, "ConsistentRead": True}
    while True:
        answer = store().call("Query", request | expression.request() | ({"ExclusiveStartKey": after} if after else {}))
        yield from map(decode_row, answer.get("Items", ()))
        after = answer.get("LastEvaluatedKey")
        if not after:
            return


def _record_key(name: str) -> dict[str, Any]:
    made = keys.migration_keys(name)
    return {PK: {"S": made.pk}, SK: {"S": made.sk}}


def _lock(row: Row) -> Lock:
    return Lock(_text(row, _BY), int(row[_UNTIL].N or 0) if _UNTIL in row else 0)


def _text(row: Row, name: str) -> str:
    return (row[name].S or "") if name in row else ""


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    return f"{user}@{socket.gethostname()} process {os.getpid()}"
