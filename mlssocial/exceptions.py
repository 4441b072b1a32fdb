"""
Every error that leaves mlssocial.

::

    MLSSocialError
      ConfigurationError(RuntimeError)    what was configured cannot work, or nothing was
        MissingExtraError(ImportError)    a package that an integration needs is not installed  .extra
      InvalidKeyError(ValueError)         an id cannot go into a key                          .part
      InvalidItemError(ValueError)        a payload, or a stored item, breaks the contract    .key .fields
      InvalidCursorError(ValueError)      a cursor is cut, altered or another query's
      ItemNotFoundError(LookupError)      it is not there
      ItemAlreadyExistsError              it is there already
      StaleItemError                      it has changed since it was read                    .item
      TransactionCanceledError            some of a transaction was refused, nothing written  .reasons
      WrongEntityError                    another entity is stored under that key             .found
      BatchIncompleteError                some of a batch was not written                     .unprocessed .result
      OutcomeUnknownError                 nobody can tell whether a write was applied         .operation
      DecryptionError                     a sealed token cannot be opened                     .key_id
      StoreError                          DynamoDB, or the way to it, refused                 .code .request_id
      MigrationLockedError                another run of migrations has the lock              .until
      ExecutorError(RuntimeError)         a step of a bulk job was not run, or not to its end  .segment
      InvalidExportError(ValueError)      an export's files are not what its manifest says    .path
      FeedError(ValueError)               an MLS feed cannot be read
        InvalidRecordError                one record of it has a value that cannot be         .field .reason
        SkippedRecordError                one record of it has no place among the listings    .reason

    UnreadableItemWarning(UserWarning)    a row was left out of an iteration
    PlaintextTokensWarning(UserWarning)   tokens are written in clear text

A message names the operation, the key, the reason and the remedy, and never a token. Errors of botocore and PynamoDB are
translated in :func:`store_error` and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .batch import BatchResult


# Whoever looks at an error's context, such as what lets Dask pickle errors, looks past __suppress_context__.
_context: Any = BaseException.__dict__["__context__"]


class MLSSocialError(Exception):
    """Any error of this package. Errors cross processes: they pickle with their message and attributes, but for tokens."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self._portable())

    def _portable(self) -> dict[str, Any]:
        """Give the attributes as they cross processes."""
        return self.__dict__

    @property
    def __context__(self) -> BaseException | None:
        """None where the error was raised ``from`` another or from None: what it stood in may hold what must not be shown."""
        return None if self.__suppress_context__ else _context.__get__(self)

    @__context__.setter
    def __context__(self, context: BaseException | None) -> None:
        _context.__set__(self, context)


class ConfigurationError(MLSSocialError, RuntimeError):
    """What was configured cannot work, or nothing was configured."""


class MissingExtraError(ConfigurationError, ImportError):
    """
    A package that an integration needs is not installed.

    Attributes:
        extra: The extra of this project that brings it.
    """

    def __init__(self, module: str, package: str, extra: str) -> None:
        super().__init__(f"{module} needs {package}: pip install 'mlssocial[{extra}]'")
        self.extra = extra


class InvalidKeyError(MLSSocialError, ValueError):
    """
    An id, provider, MLS number, platform or date cannot go into a key. Raised before any request.

    Attributes:
        part: Which argument was refused, such as ``user_id``.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


class InvalidCursorError(MLSSocialError, ValueError):
    """A cursor is not one of ours, was cut or altered, or belongs to another query or user."""


class ItemError(MLSSocialError):
    """
    Base of the errors about one item.

    Attributes:
        operation: What was tried, such as ``create Listing``.
        key: The item's (PK, SK), or None where the error came before the key was known.
    """

    def __init__(self, operation: str, key: tuple[str, str] | None, reason: str) -> None:
        where = f" {key[0]} / {key[1]}" if key else ""
        super().__init__(f"{operation}{where}: {reason}")
        self.operation = operation
        self.key = key
        self.reason = reason


class InvalidItemError(ItemError, ValueError):
    """
    A payload breaks the contract, or a stored item cannot be read as its entity.

    Attributes:
        fields: The fields at fault, in wire names joined by dots, such as ``address.city``.
    """

    def __init__(self, operation: str, key: tuple[str, str] | None, reason: str, *, fields: Sequence[str] = ()) -> None:
        super().__init__(operation, key, reason)
        self.fields = tuple(fields)


class ItemNotFoundError(ItemError, LookupError):
    """The item is not there, or its TTL has passed."""


class ItemAlreadyExistsError(ItemError):
    """A create found the item there already. Nothing was written."""


class StaleItemError(ItemError):
    """
    The item has changed since it was read. Nothing was written.

    Attributes:
        item: The item as it is now, None where it cannot be shown; what holds tokens does not pickle along with the error.
    """

    def __init__(self, operation: str, key: tuple[str, str] | None, reason: str, *, item: Any = None) -> None:
        super().__init__(operation, key, reason)
        self.item = item

    def _portable(self) -> dict[str, Any]:
        return self.__dict__ | {"item": self.item if _pickles(self.item) else None}


class WrongEntityError(ItemError):
    """
    The key holds an item of another EntityType. Nothing was written.

    Attributes:
        found: The EntityType that is stored there.
    """

    def __init__(self, operation: str, key: tuple[str, str] | None, *, found: str | None) -> None:
        super().__init__(operation, key, f"the item there is a {found or 'row without EntityType'}; nothing was changed")
        self.found = found


class OutcomeUnknownError(ItemError):
    """
    A write was sent and no answer can tell whether it was applied.

    Read the item consistently before you send it again.
    """


class DecryptionError(ItemError):
    """
    A sealed token cannot be opened: its key is gone, it was altered, or it lies at another place than it was sealed for.

    Attributes:
        key_id: The key that it is sealed under, as far as it says so.
    """

    def __init__(self, operation: str, key: tuple[str, str] | None, reason: str, *, key_id: str | None = None) -> None:
        super().__init__(operation, key, reason)
        self.key_id = key_id


class TransactionCanceledError(MLSSocialError):
    """
    A transaction was refused, and nothing of it was written.

    Attributes:
        reasons: One for each of the caller's operations, in the caller's order: the error that it would have raised by itself,
            or None where nothing is known to be wrong with it.
    """

    def __init__(self, reasons: Sequence[MLSSocialError | None]) -> None:
        refused = [f"operation {number}, {reason}" for number, reason in enumerate(reasons, 1) if reason is not None]
        super().__init__(f"transaction of {len(reasons)}: nothing was written; {'; '.join(refused)}")
        self.reasons = tuple(reasons)


class BatchIncompleteError(MLSSocialError):
    """
    Some items of a batch were not written, or nobody can tell.

    Attributes:
        unprocessed: What is left to do, as it was given: items, or ids. Items that hold tokens do not pickle along with the
            error; *result* has their ids.
        result: What became of every key; None where no batch was begun.
    """

    def __init__(self, message: str, unprocessed: Sequence[Any], result: BatchResult | None = None) -> None:
        super().__init__(message)
        self.unprocessed = tuple(unprocessed)
        self.result = result

    def _portable(self) -> dict[str, Any]:
        return self.__dict__ | {"unprocessed": tuple([one for one in self.unprocessed if _pickles(one)])}


class StoreError(MLSSocialError):
    """
    DynamoDB, or KMS where it holds the tokens' keys, refused or could not be reached.

    Attributes:
        code: The service's error code, or the name of botocore's exception where no answer came.
        request_id: AWS's id of the request, or None.
    """

    def __init__(self, message: str, *, code: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class MigrationLockedError(MLSSocialError):
    """
    Another run of migrations has the lock, or has taken it from this one.

    Attributes:
        until: When its lease ends unless it is renewed, in epoch milliseconds; None where nobody can tell.
    """

    def __init__(self, reason: str, *, until: int | None = None) -> None:
        super().__init__(f"migrations: {reason}")
        self.reason = reason
        self.until = until


class ExecutorError(MLSSocialError, RuntimeError):
    """
    An executor could not run a step of a bulk job, or lost it with its worker.

    Attributes:
        segment: The job's segment.
    """

    def __init__(self, segment: int, reason: str) -> None:
        super().__init__(f"segment {segment}: {reason}")
        self.segment = segment
        self.reason = reason


class InvalidExportError(MLSSocialError, ValueError):
    """
    An export cannot be read, or its files are not what its manifest says. Nothing was written.

    Attributes:
        path: The file at fault.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class FeedError(MLSSocialError, ValueError):
    """An MLS feed cannot be read; and the base of what can be wrong with one record of it."""


class InvalidRecordError(FeedError):
    """
    A record has a value that cannot be what its field says.

    Attributes:
        field: The field, by its name in the feed.
        reason: What is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class SkippedRecordError(FeedError):
    """
    A record is sound, and has no place among the listings.

    Attributes:
        reason: Why, in the same words for every record that is skipped for the same reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnreadableItemWarning(UserWarning):
    """An iteration left out a row that cannot be read as its entity; the message names its key."""


class PlaintextTokensWarning(UserWarning):
    """Tokens are written in clear text, since ``allow_plaintext_tokens`` says so and no key is configured."""


def shown(value: object) -> str:
    """Show a value in a message: the beginning of text, a number of common size, and the type of anything else."""
    if isinstance(value, str):
        return ascii(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, int | float) and -1e15 < value < 1e15:
        return repr(value)
    return f"a value of type {type(value).__name__}"


def clipped(name: object, most: int = 80) -> str:
    """Show a name in a message: its beginning, without characters that a terminal or a log would take for its own."""
    text = str(name)
    shown = text if len(text) <= most else text[: most - 3] + "..."
    return shown if shown.isprintable() else ascii(shown)[1:-1]


_REMEDIES: Mapping[str, str] = {
    "ResourceNotFoundException": "the table or index is not there; create_table() makes it, check_table() compares it",
    "NoCredentialsError": "configure AWS credentials, or endpoint_url='local:' for the embedded engine",
    "NoRegionError": "configure(region=...) or set MLSSOCIAL_REGION",
    "AccessDeniedException": "the credentials in use may not do this on this table",
    "ExpiredTokenException": "the AWS credentials have expired",
    "UnrecognizedClientException": "the AWS credentials are not valid in this region",
    "ProvisionedThroughputExceededException": "the table is throttled; try again later or at a lower rate",
    "ThrottlingException": "the table is throttled; try again later or at a lower rate",
    "EndpointConnectionError": "nothing answers at the endpoint; see endpoint_url and region",
    "ConnectTimeoutError": "nothing answers at the endpoint; see endpoint_url and region",
}


def store_error(operation: str, error: Exception, *, remedies: Mapping[str, str] = {}) -> StoreError:
    """
    Translate an exception of botocore or PynamoDB; *remedies*, by code, go before those for DynamoDB.

    The caller chains the cause. DynamoDB's own message is kept, since it never repeats a value of ours but for a key's name;
    botocore's message for an unanswered request names the endpoint and nothing else.
    """
    response = getattr(error, "response", None) or {}
    detail = response.get("Error", {})
    code = detail.get("Code") or type(error).__name__
    reason = detail.get("Message") or str(error)
    remedy = remedies.get(code) or _REMEDIES.get(code)
    metadata = response.get("ResponseMetadata", {})
    return StoreError(
        f"{operation}: {code}: {reason}" + (f" ({remedy})" if remedy else ""),
        code=code,
        request_id=metadata.get("RequestId") or metadata.get("HTTPHeaders", {}).get("x-amzn-requestid"),
    )


def _pickles(value: Any) -> bool:
    """Tell whether a value crosses processes: what holds a token does not, and what was read from the table may."""
    import pickle  # here, since it is a hundredth of what a first import of the package costs

    try:
        pickle.dumps(value)
    except TypeError:
        return False
    return not isinstance(value, dict)


def _rebuild(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    """Make an error again from a pickle: its constructor takes the parts, a pickle has the finished message."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
