"""What becomes of an item in a batch: how it is checked, sent, and recognised after an answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mlssocial import batch, notices, prepare
from mlssocial.batch import Ids, Key, Outcome
from mlssocial.exceptions import InvalidItemError, MLSSocialError
from mlssocial.schema import PK, SK, WRITE_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlssocial.models import Item
    from mlssocial.schema import Entity
    from mlssocial.wire import Row

M = TypeVar("M", bound="Item")
T = TypeVar("T")


class _OfItems(batch.Batch[M]):
    """What is given are items of one model; with *tenant*, a partition key, of one user."""

    def __init__(self, verb: str, model: type[M], entity: Entity[Any], tenant: str | None = None) -> None:
        super().__init__(verb, entity)
        self._model = model
        self._tenant = tenant

    def check(self, one: M) -> None:
        """Refuse what is no item of the model, or another user's."""
        if not isinstance(one, self._model):
            reason = f"a {self._model.__name__} is needed, not {type(one).__name__}"
            raise InvalidItemError(self.operation, None, reason)
        if self._tenant is not None:
            check_tenant(self.operation, one, self._tenant)


class SaveMany(_OfItems[M], batch.WholeBatch[M]):
    """Items that are written whole, over what is there."""

    def __init__(self, verb: str, model: type[M], entity: Entity[Any], tenant: str | None = None) -> None:
        super().__init__(verb, model, entity, tenant)
        self._write_ids: list[str] = []

    def prepare(self, one: M) -> tuple[Key, M, Any, int]:
        """Check an item and make its JSON."""
        self.check(one)
        if not self._write_ids:
            self._write_ids = prepare.write_ids(self.most)
        content, head = one.replacement(self._write_ids.pop())
        return head.keys[:2], one, (content, head), len(content)

    def request(self, key: Key, sent: Any) -> dict[str, Any]:  # noqa: ARG002  a delete's is made of the key
        """Make a PutRequest."""
        return {"PutRequest": {"Item": sent[0]}}

    def is_done(self, sent: Any, row: Row | None) -> bool:
        """Tell whether the stored item shows this very write."""
        return row is not None and WRITE_ID in row and sent[1].write_id == row[WRITE_ID].S

    def take(self, one: M, sent: Any) -> None:
        """Let the item know its times, index keys and version."""
        one.take_head(sent[1])
        notices.tell("save", one)


class CreateMany(_OfItems[M]):
    """Items that are written where there are none, each by a request of its own."""

    most = 5
    replaces = False
    past = "created"

    def prepare(self, one: M) -> tuple[Key, M, Any, int]:
        """Check an item and make its JSON."""
        self.check(one)
        return (one.pk, one.sk), one, one.creation(), 0

    def send(self, entries: dict[Key, tuple[M, Any]]) -> Outcome:
        """Create one after the other, and keep what was stored."""
        return {key: self._create(entries, key) for key in list(entries)}

    def _create(self, entries: dict[Key, tuple[M, Any]], key: Key) -> MLSSocialError | None:
        if self.stopped.is_set():
            return self.not_sent()
        item, creation = entries[key]
        try:
            row = creation()
        except MLSSocialError as error:
            return error
        entries[key] = item, row
        return None

    def take(self, one: M, sent: Row) -> None:
        """Let the item know its times, index keys and version."""
        one.take_row(sent)
        notices.tell("create", one)


class DeleteMany(batch.WholeBatch[T]):
    """Items that are not to be there, named by what *ids_of* makes their ids of."""

    past = "deleted"

    def __init__(self, model: type[Item], entity: Entity[Any], ids_of: Callable[[T], Ids]) -> None:
        super().__init__("delete_many", entity)
        self._model = model
        self._ids_of = ids_of

    def prepare(self, one: T) -> tuple[Key, T, Any, int]:
        """Check ids; the key in them is all that is sent."""
        return self.entity.keys(self._ids_of(one)), one, None, 0

    def request(self, key: Key, sent: Any) -> dict[str, Any]:  # noqa: ARG002  a put's is made of it
        """Make a DeleteRequest."""
        return {"DeleteRequest": {"Key": {PK: {"S": key[0]}, SK: {"S": key[1]}}}}

    def is_done(self, sent: Any, row: Row | None) -> bool:  # noqa: ARG002
        """Tell whether nothing is there: all that an unconditional delete promises, whoever has seen to it."""
        return row is None

    def take(self, one: T, sent: Any) -> None:  # noqa: ARG002  nothing is sent of it but its key
        """Let those know who want to be told of writes."""
        notices.tell_key("delete", self._model, self.entity.keys(self._ids_of(one)))

    def ids(self, one: T) -> Ids:
        """Give the ids as they were given."""
        return self._ids_of(one)


def check_tenant(operation: str, item: Item, tenant: str) -> None:
    """Refuse an item of another user's partition than *tenant*."""
    if item.pk != tenant:
        raise InvalidItemError(operation, (item.pk, item.sk), f"it is another user's; this is the door of {tenant} alone")
