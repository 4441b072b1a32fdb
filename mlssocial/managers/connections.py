"""What the managers of MLS and social connections share: tokens that are refreshed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from mlssocial.connection import store
from mlssocial.exceptions import StaleItemError
from mlssocial.operations import running
from mlssocial.tokens import hide

from .base import D, M
from .queues import QueueManager

if TYPE_CHECKING:
    from datetime import datetime

    from mlssocial.tokens import Token


class Refreshed(NamedTuple, Generic[M]):
    """
    What became of a refresh of tokens.

    Attributes:
        connection: The connection as it is now.
        won: Whether its tokens are the ones that were given here; if not, they are another worker's.
    """

    connection: M
    won: bool


class ConnectionManager(QueueManager[M, D]):
    """What the managers of connections have beyond: tokens."""

    def refresh_tokens(
        self,
        connection: M,
        *,
        access_token: Token | str,
        expires_at: datetime | None,
        refresh_token: Token | str | None = None,
    ) -> Refreshed[M]:
        """
        Store new tokens, if those in the table are still the ones in *connection*.

        Of workers that refresh one connection at the same time one wins, and the others get the winner's tokens; what anybody
        changed beside the tokens is kept and hinders nobody. One request, and another for each time that such a change came
        between. A lease on the connection goes on: :meth:`release` it.

        Args:
            connection: As it was read before the platform was asked.
            access_token: The new one.
            expires_at: When it expires; None, if never, is stored as null.
            refresh_token: The new one; where the platform gave none (None), the stored one stays.

        Raises:
            ItemNotFoundError: It is gone.
            StaleItemError: It has changed, and cannot be read; or others kept changing it until the deadline.
        """
        values = hide({"access_token": access_token, "refresh_token": refresh_token, "expires_at": expires_at})
        del access_token
        if refresh_token is None:
            del values["refresh_token"]
        del refresh_token  # a traceback shows what stands in variables
        ids = self._ids("update", connection)
        with running(f"refresh_tokens {self.entity.name}"):
            return self._refreshed(ids, connection, values)

    def _refreshed(self, ids: tuple[Any, ...], connection: M, values: dict[str, Any]) -> Refreshed[M]:
        patience, seen = store().patience(), connection
        while True:
            try:
                return Refreshed(self._update(*ids, values=values, remove=(), seen=seen, patience=patience), won=True)
            except StaleItemError as stale:
                if stale.item is None:
                    raise
                if _tokens(stale.item) != _tokens(connection):
                    return Refreshed(stale.item, won=False)
                if not patience.wait():
                    raise
                seen = stale.item


def _tokens(connection: Any) -> tuple[Token | None, Token | None]:
    return connection.data.access_token, connection.data.refresh_token
