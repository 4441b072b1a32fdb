"""
Tokens sealed anew: those that lie in clear text, and those under another key than the current one.

It is a job over all items, whose step is a page: see :mod:`scans`. A token leaves the step's process sealed, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from . import prepare, writes
from .crypto import Place, key_id_of, key_provider
from .exceptions import ConfigurationError, DecryptionError, InvalidItemError, InvalidKeyError, StoreError
from .operations import operation
from .scans import Met, Page, Scan, TokenReport, insist, scan, sealed_under
from .schema import ENTITIES, Entity, entity_type, key_of
from .settings import current
from .tokens import MASK, Secret, Token
from .wire import Row

# How AWS KMS says that a key opens nothing, until somebody does something about it.
_GONE = frozenset({"NotFoundException", "DisabledException", "KMSInvalidStateException"})


@dataclass(frozen=True, slots=True)
class TokenFailure:
    """
    A token that could not be sealed anew, and lies as it lay; ``str`` of it says why.

    Attributes:
        key: The item's (PK, SK).
        entity: The item's EntityType.
        attribute: The token's name in Data.
        key_id: The key that it is sealed under, as far as it says so.
        reason: Why.
    """

    key: tuple[str, str]
    entity: str
    attribute: str
    key_id: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.entity} {self.key[0]} / {self.key[1]}: {self.attribute}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """Give the failure as what JSON can hold."""
        return {
            "key": list(self.key),
            "entity": self.entity,
            "attribute": self.attribute,
            "key_id": self.key_id,
            "reason": self.reason,
        }


@dataclass(slots=True)
class ResealReport(TokenReport):
    """
    What became of the tokens; ``str`` of it is a summary.

    Attributes:
        scanned: How many items were read, of whatever kind.
        others: How many of them are no connections, which were left alone.
        expired: How many connections have a TTL that has passed, which were left alone.
        read_units: What the scan cost. Writes cost beside: the item's size, once more for each index it is in.
        elapsed: Seconds, of all runs where a checkpoint went on.
        clear_tokens: How many tokens were found in clear text.
        sealed_tokens: How many were found sealed, by the key's id; under ``?`` what does not say its key in a form of ours.
        key_id: The key that seals.
        rotate: Whether tokens under other keys were sealed anew, too.
        dry_run: Whether nothing was to be written.
        wanted: How many tokens were to be sealed.
        resealed: How many were.
        settled: How many another writer has sealed, changed or removed first.
        failed: How many could not be: they lie as they lay.
        failures: The first that could not be, as many as were to be kept.
    """

    key_id: str = ""
    rotate: bool = False
    dry_run: bool = False
    wanted: int = 0
    resealed: int = 0
    settled: int = 0
    failed: int = 0
    failures: list[TokenFailure] = field(default_factory=list)

    def take(self, page: Page[Resealed], *, keep: int) -> list[TokenFailure]:
        """Count what came of a page, keep its failures as long as there are no more than *keep*, and give all of them."""
        self.count(page)
        for item in page.found:
            self.count_tokens(item.found)
            self.wanted += item.wanted
            self.resealed += item.resealed
            self.settled += item.settled
        failures = [failure for item in page.found for failure in item.failures]
        self.failed += len(failures)
        self.failures += failures[: max(0, keep - len(self.failures))]
        return failures

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        named = ("key_id", "rotate", "dry_run", "scanned", "others", "expired", "clear_tokens", "sealed_tokens")
        counted = ("wanted", "resealed", "settled", "failed", "read_units")
        return {
            **{name: getattr(self, name) for name in (*named, *counted)},
            "failures": [failure.as_dict() for failure in self.failures],
            "elapsed": round(self.elapsed, 3),
        }

    def __str__(self) -> str:
        cost = f"{self.scanned:,} items in {self.elapsed:.1f} s for {self.read_units:,} read units"
        named = {"sealed": self.resealed, "changed by others first": self.settled, "failed": self.failed}
        done = ", ".join(f"{count:,} {name}" for name, count in named.items() if count)
        if self.dry_run:
            done = ", ".join(filter(None, ("dry run, nothing was written", done)))
        about = f"{self.wanted:,} to seal under key {self.key_id}: {done or 'nothing to do'}"
        return "\n".join(filter(None, (cost, self.tokens(), about)))


@operation
def reseal_tokens(
    *,
    rotate: bool = False,
    dry_run: bool = False,
    segments: int = 1,
    checkpoint: str | Path | None = None,
    max_read_units: float | None = None,
    executor: Executor | str | None = None,
    keep: int = 100,
    on_failure: Callable[[TokenFailure], None] | None = None,
    progress: Callable[[ResealReport], None] | None = None,
) -> ResealReport:
    """
    Seal every token that lies in clear text, and with *rotate* every one that is sealed under another key than the current one.

    It reads the whole table, consistently, at a read unit for each 4 KB. A write changes those tokens and WriteId only, under
    the condition that the item's version and those tokens are what was read; an item that another writer has changed meanwhile
    is looked at again. A token that cannot be opened is named and left as it is, and the rest goes on. To repeat it, or to
    run it beside other writers or itself, is safe.

    Args:
        rotate: Seal those under other keys anew, too.
        dry_run: Open what would be sealed anew, so that it is known which tokens cannot be, and write nothing.
        segments: How many parts of the table are read at once, 1 to 64.
        checkpoint: A JSON file that says how far each segment is, as :func:`audit_table` has one.
        max_read_units: How many read units a second are spent, on average.
        executor: Where the parts are read: threads; an executor of yours; or ``dask://HOST:PORT``. A worker in another process
            has keys of its own environment.
        keep: How many failures the report names; it counts them all.
        on_failure: Is given each failure, in the caller's thread, when its page is done.
        progress: Is given the report after each page.

    Raises:
        ConfigurationError: No key is configured, here or in a worker, or a worker's current key is another; the checkpoint is
            another job's, in use, or cannot be written; *segments*, *max_read_units* or *executor* cannot be.
        ExecutorError: The executor lost a page.
        StoreError: DynamoDB, or KMS, refused or could not be reached. With a checkpoint, start again to go on.
    """
    key_id = current().sealing_key
    if key_id is None or key_provider() is None:
        raise ConfigurationError("no key is configured to seal tokens with: configure(token_keys=..., current_token_key=...)")
    entities = tuple(name for name, entity in ENTITIES.items() if entity.token_names)
    step = Scan(_Look(key_id, rotate=rotate, dry_run=dry_run), entities, segments, consistent=True)

    def take(report: ResealReport, page: Page[Resealed]) -> None:
        for failure in report.take(page, keep=keep):
            if on_failure is not None:
                on_failure(failure)

    return scan(
        "rotation of keys" if rotate else "encryption of tokens",
        step,
        ResealReport(key_id=key_id, rotate=rotate, dry_run=dry_run),
        take,
        options={"key": key_id, "dry_run": dry_run},
        max_read_units=max_read_units,
        checkpoint=checkpoint,
        executor=executor,
        progress=progress,
    )


# --- One item --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resealed:
    """What came of an item: what its tokens were found sealed under, and how many of them came to what."""

    found: tuple[str | None, ...]
    wanted: int = 0
    resealed: int = 0
    settled: int = 0
    failures: tuple[TokenFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class _Work:
    """The tokens of an item that are to be sealed, and what came of them."""

    entity: Entity[Any]
    key: tuple[str, str]
    tokens: Mapping[str, Token]
    resealed: int = 0
    failures: tuple[TokenFailure, ...] = ()

    def failed(self, reasons: Mapping[str, str]) -> _Work:
        """Add failures: the tokens' names, and why."""
        made = [
            TokenFailure(self.key, self.entity.name, name, key_id_of(self.tokens[name]), reason)
            for name, reason in reasons.items()
        ]
        return replace(self, failures=(*self.failures, *made))


@dataclass(frozen=True, slots=True)
class _Look:
    """Does what is to be done about an item's tokens, under the key of the job."""

    key_id: str
    rotate: bool
    dry_run: bool

    def __call__(self, row: Row) -> Resealed | None:
        found = tuple(map(sealed_under, ENTITIES[entity_type(row) or ""].stored_tokens(row).values()))
        work = self._work(row)
        if work is None:
            return Resealed(found) if found else None
        done, met = insist(work, row, act=self._act, reread=_reread, look=self._work)
        if met is Met.CHANGING:
            done = done.failed(dict.fromkeys(done.tokens, "other writers kept changing the item; run it again"))
        settled = len(done.tokens) if met is Met.SETTLED else 0
        return Resealed(found, len(done.tokens), done.resealed, settled, done.failures)

    def _work(self, row: Row) -> _Work | None:
        entity = ENTITIES[entity_type(row) or ""]
        tokens = {name: token for name, token in entity.stored_tokens(row).items() if self._is_due(token)}
        return _Work(entity, key_of(row), tokens) if tokens else None

    def _is_due(self, token: Token) -> bool:
        return key_id_of(token) != self.key_id if self.rotate else not token.sealed

    def _act(self, work: _Work, row: Row) -> _Work:
        """Seal what can be sealed, in one write; what cannot is a failure."""
        if (current_key := current().sealing_key) != self.key_id:
            reason = f"a worker's current key is {current_key}, and the job's is {self.key_id}"
            raise ConfigurationError(f"{reason}; set MLSSOCIAL_TOKEN_KEYS and MLSSOCIAL_CURRENT_TOKEN_KEY for it")
        sealed, reasons = {}, {}
        for name, token in work.tokens.items():
            try:
                sealed[name] = _anew(token, Place.of(work.key, name))
            except DecryptionError as error:
                reasons[name] = error.reason
        work = work.failed(reasons)
        return work if self.dry_run or not sealed else _written(work, row, sealed)


def _anew(token: Token, place: Place) -> Token:
    """Seal a token under the current key; DecryptionError if it cannot be opened."""
    return Token.at_rest(place.seal(_opened(token, place)), place)


def _opened(token: Token, place: Place) -> Secret:
    refused = partial(DecryptionError, f"reveal {place.attribute}", (place.pk, place.sk))
    if token.stored == MASK:
        raise refused("it is the mask that stands for a token in dumps, and no token")
    try:
        return Secret(token.reveal())
    except StoreError as error:
        if error.code not in _GONE:
            raise
        raise refused(str(error)) from error


def _written(work: _Work, row: Row, sealed: Mapping[str, Token]) -> _Work:
    """Write tokens that were sealed; the write is refused where the item is not what it was."""
    try:
        writes.apply(prepare.reseal(work.entity, work.entity.parse(*work.key), row, sealed))
    except InvalidKeyError as error:
        return work.failed(dict.fromkeys(sealed, f"its key is no {work.entity.name}'s: {error}"))
    except (InvalidItemError, StoreError) as error:
        if not writes.is_final(error):
            raise
        return work.failed(dict.fromkeys(sealed, str(error)))
    return replace(work, resealed=len(sealed))


def _reread(work: _Work) -> Row | None:
    return writes.read(work.entity, work.entity.parse(*work.key), consistent=True)
