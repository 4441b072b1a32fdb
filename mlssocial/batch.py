"""
Bulk reads and writes: any number of items in DynamoDB's batches, a few requests at a time.

DynamoDB answers a batch in part when it is busy. What it left is sent again, with growing pauses, for as long as something gets
through within the deadline; what is left then is named, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from .connection import AnswerLostError, Patience, store
from .exceptions import StoreError
from .schema import PK, SK
from .wire import Row, decode_row

T = TypeVar("T")
R = TypeVar("R")
Key = tuple[str, str]

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html, .../API_BatchWriteItem.html
MAX_GET, MAX_WRITE = 100, 25
CONCURRENCY = 4
"""How many requests are under way at once."""


@dataclass(slots=True)
class Outcome:
    """
    What became of the keys of a batch.

    Attributes:
        written: Those that DynamoDB has taken.
        failed: Those that it has not, or of which nobody can tell, with the reason.
    """

    written: list[Key] = field(default_factory=list)
    failed: dict[Key, str] = field(default_factory=dict)


def read(keys: Iterable[Key], *, consistent: bool) -> Iterator[Row]:
    """Read items by their keys, in no order; those that are not there are left out. StoreError if some cannot be had."""
    requests = [[{PK: {"S": pk}, SK: {"S": sk}} for pk, sk in part] for part in _batched(dict.fromkeys(keys), MAX_GET)]
    parts = _at_once(lambda part: _read_part(part, consistent=consistent), requests)
    return map(decode_row, chain.from_iterable(parts))  # one at a time: a whole answer's tree is dear to the collector


def write(requests: dict[Key, dict[str, Any]]) -> Outcome:
    """Send PutRequest and DeleteRequest members, one a key; the outcome names every key."""
    total = Outcome()
    for outcome in _at_once(_write_part, [dict(part) for part in _batched(requests.items(), MAX_WRITE)]):
        total.written += outcome.written
        total.failed |= outcome.failed
    return total


def _read_part(keys: list[dict[str, Any]], *, consistent: bool) -> list[msgspec.Raw]:
    table, deadline = store().table_name, store().settings.deadline
    patience = Patience(deadline)
    rows: list[msgspec.Raw] = []
    while keys:
        request = {"RequestItems": {table: {"Keys": keys, "ConsistentRead": consistent}}}
        answer = store().call("BatchGetItem", request, patience=patience)
        found = answer.get("Responses", {}).get(table, [])
        rows += found
        keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        patience = Patience(deadline) if found else patience
        if keys and not patience.wait():
            reason = (
                f"BatchGetItem on {table}: {len(keys)} keys were left unprocessed until the deadline; ask for fewer at a time"
            )
            raise StoreError(reason, code="UnprocessedKeys")
    return rows


def _write_part(requests: dict[Key, dict[str, Any]]) -> Outcome:
    table, deadline, left = store().table_name, store().settings.deadline, requests
    patience = Patience(deadline)
    outcome = Outcome()
    while left:
        try:
            answer = store().call("BatchWriteItem", {"RequestItems": {table: list(left.values())}}, patience=patience)
        except AnswerLostError as lost:
            outcome.failed |= dict.fromkeys(left, f"unknown: the answer was lost ({lost})")
            break
        except StoreError as error:
            outcome.failed |= dict.fromkeys(left, f"refused: {error}")
            break
        unprocessed = {_key_of(request) for request in answer.get("UnprocessedItems", {}).get(table, [])}
        outcome.written += [key for key in left if key not in unprocessed]
        patience = Patience(deadline) if len(unprocessed) < len(left) else patience
        left = {key: request for key, request in left.items() if key in unprocessed}
        if left and not patience.wait():
            outcome.failed |= dict.fromkeys(left, "unprocessed until the deadline")
            break
    return outcome


def _batched(members: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(members)
    while part := list(islice(iterator, size)):
        yield part


def _key_of(request: dict[str, Any]) -> Key:
    """Take the key out of a PutRequest or DeleteRequest that DynamoDB sent back."""
    (member,) = request.values()
    key = member.get("Key") or member["Item"]
    return key[PK]["S"], key[SK]["S"]


def _at_once(work: Callable[[T], R], parts: list[T]) -> Iterator[R]:
    """Do the parts a few at a time, in their order, each in the caller's context."""
    if len(parts) <= 1:
        yield from map(work, parts)
        return
    contexts = [copy_context() for _ in parts]
    with ThreadPoolExecutor(min(CONCURRENCY, len(parts)), thread_name_prefix="mlssocial-batch") as pool:
        yield from pool.map(lambda context, part: context.run(work, part), contexts, parts)
