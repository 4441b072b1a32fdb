"""
Items put and deleted as they lie, for jobs that restore and erase: nothing of them is derived, and times and versions stay.

Either write may be sent again when its answer was lost: what was put shows itself, and what was deleted is not there.
"""

from __future__ import annotations

from typing import Any

from .connection import AnswerLostError, RefusedError, store
from .exceptions import OutcomeUnknownError
from .expressions import Expression
from .schema import PK, SK, now_millis
from .wire import AttributeValue, Row

Key = tuple[str, str]


def put(operation: str, row: Row, *, anyway: bool = False) -> bool:
    """
    Put an item where there is none, or one whose TTL has passed; with *anyway* over any other. False if it stood there already.

    Raises:
        RefusedError: Another item stands there; the error has it.
        OutcomeUnknownError: The answers were lost until the deadline. To put it again does no harm.
        StoreError: DynamoDB refused, or could not be reached before the deadline.
    """
    expression = Expression()
    request: dict[str, Any] = {"Item": row}
    if not anyway:
        request |= {"ConditionExpression": expression.absent(now_millis()), **expression.request()}
    refused, lost = _sent("PutItem", operation, key_of(row), request)
    if refused is not None and (refused.item is None or not same(row, refused.item)):
        raise refused
    return refused is None or lost


def delete(operation: str, key: Key, expression: Expression, condition: str) -> bool:
    """
    Delete an item that meets a condition; False if it is not there or no longer meets it. One request.

    Raises:
        OutcomeUnknownError: The answers were lost until the deadline. To delete it again does no harm.
        StoreError: DynamoDB refused, or could not be reached before the deadline.
    """
    at = {PK: {"S": key[0]}, SK: {"S": key[1]}}
    request = {"Key": at, "ConditionExpression": condition, **expression.request()}
    refused, lost = _sent("DeleteItem", operation, key, request)
    return refused is None or (lost and refused.item is None)


def _sent(kind: str, operation: str, key: Key, request: dict[str, Any]) -> tuple[RefusedError | None, bool]:
    """Send a write until it is answered; give the refusal if its condition failed, and whether an answer was lost before."""
    patience, was_lost = store().patience(), False
    request = {"TableName": store().table_name, "ReturnValuesOnConditionCheckFailure": "ALL_OLD", **request}
    while True:
        try:
            store().call(kind, request, patience=patience)
        except RefusedError as refused:
            return refused, was_lost
        except AnswerLostError as lost:
            was_lost = True
            if not patience.wait():
                reason = f"the answer was lost ({lost}); do it again, which does no harm"
                raise OutcomeUnknownError(operation, key, reason) from lost
        else:
            return None, was_lost


def same(one: Row, other: Row) -> bool:
    """Tell whether two rows are the same item; sets have no order."""
    return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())


def _same(one: AttributeValue, other: AttributeValue) -> bool:
    if one.M is not None and other.M is not None:
        return same(one.M, other.M)
    if one.L is not None and other.L is not None:
        return len(one.L) == len(other.L) and all(map(_same, one.L, other.L))
    for kind in ("SS", "NS", "BS"):
        if getattr(one, kind) is not None:
            return set(getattr(one, kind)) == set(getattr(other, kind) or ())
    return one == other


def key_of(row: Row) -> Key:
    """Give a row's PK and SK."""
    return row[PK].S or "", row[SK].S or ""
