"""What a peer does, and what its module may lean on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from benchmarks import item

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.item import Ids, View

T = TypeVar("T")

REGION = "us-east-1"
GET_LIMIT, WRITE_LIMIT = 100, 25
OPERATIONS = ("get", "put", "query", "batch_write", "batch_get")


class Target(NamedTuple):
    """The table to work on. *canned* where no engine stands behind it."""

    endpoint: str
    table: str
    unknown_fields: bool = False
    canned: bool = True


class Peer(ABC):
    """
    One library. Its five operations are methods, or coroutines where *run* is set.

    *keeps_unknown* tells whether fields that the model does not know are there after a read.
    """

    keeps_unknown: ClassVar[bool] = True
    run: Any = None

    def __init__(self, target: Target) -> None:
        self.target = target

    def missing(self, operation: str) -> str | None:  # noqa: ARG002  most have them all
        """Say why an operation is left out, None where it is there."""
        return None

    @abstractmethod
    def connect(self) -> Any:
        """Make the library's client, without a request."""

    @abstractmethod
    def ready(self, number: int) -> Any:
        """Make an item the way that the library takes it for writing, outside of the timing."""

    @abstractmethod
    def get(self, ids: Ids) -> Any:
        """Read one item."""

    @abstractmethod
    def put(self, ready: Any) -> Any:
        """Write one item, without a condition."""

    @abstractmethod
    def query(self, ids: Ids) -> Any:
        """Read all listings of the user, over the pages, into a list."""

    @abstractmethod
    def batch_write(self, ready: list[Any]) -> Any:
        """Write a thousand items."""

    @abstractmethod
    def batch_get(self, ids: list[Ids]) -> Any:
        """Read a thousand items by their keys, into a list."""

    @abstractmethod
    def view(self, found: Any) -> View | None:
        """Look at what was read, to compare it; None where nothing is decoded."""

    def item(self, number: int) -> dict[str, Any]:
        """Give an item as Python values."""
        return item.item(number, unknown_fields=self.target.unknown_fields)


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into parts of at most *size*, for libraries that leave DynamoDB's limits to the caller."""
    return (values[start : start + size] for start in range(0, len(values), size))


def listing_id(sort_key: str) -> str:
    """Give the listing's id out of its sort key."""
    return sort_key.removeprefix("LISTING#")


def payload_view(sort_key: str, data: Any) -> View:
    """Look at a payload whose fields are attributes."""
    kept = getattr(data, "model_extra", None) or {}
    unknown = (kept["heating"], kept["parking"]["spaces"]) if kept else ()
    photos = [photo.url for photo in data.photos]
    return item.View(listing_id(sort_key), data.price, data.bathrooms, photos, list(data.features), unknown)
