"""Secrets that do not show themselves: keys, and the tokens of connections."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from .exceptions import DecryptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
    from pydantic_core import core_schema

MASK = "*" * 10

STORED = "mlssocial: stored"
"""Validation context of values that come from the table: wire types are taken at their word, and nothing is coerced."""

_SEALED = re.compile(r"enc:v\d+:", re.ASCII)


def is_sealed(stored: str) -> bool:
    """Tell whether a stored token is sealed, in this format or in a later one."""
    return _SEALED.match(stored) is not None


class Secret:
    """Text that shows as ``**********`` wherever it is shown, and gives itself only to :meth:`reveal`. It does not pickle."""

    __slots__ = ("_text",)
    __hash__ = None  # type: ignore[assignment]  # a hash would tell equal secrets apart from others in any log

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the secret itself. Do not log it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, others = self.reveal(), other.reveal()
        return hmac.compare_digest(mine.encode("utf-8", "surrogatepass"), others.encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not pickle; reveal() it where it is needed")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


class DataKey(NamedTuple):
    """
    A key that a token is sealed with.

    Attributes:
        key: Its 32 bytes.
        wrapped: What is stored beside the token to get it back, in text without a colon; empty where the key id is enough.
    """

    key: bytes
    wrapped: str

    def __repr__(self) -> str:
        return f"DataKey({MASK!r})"


class Opener(Protocol):
    """Opens what is sealed at one place; two openers of one place are equal."""

    def open(self, stored: str) -> str:
        """Give the token; DecryptionError if it cannot be opened."""


class Token(Secret):
    """
    An OAuth or MLS token: shows ``**********``, and gives its value only to :meth:`reveal`.

    One that was read from the table is decrypted when it is revealed, and no earlier. Equal to a token with the same value,
    compared in constant time. False where it is empty, as the other application stores a refresh token that it does not have.
    It does not pickle, and a payload dumps it as the mask.
    """

    __slots__ = ("_at_rest", "_opener")

    _at_rest: bool
    _opener: Opener | None

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            text = type(text).__name__  # what was given is not to stand in a traceback with locals
            raise TypeError(f"a token is a string, not {text}")
        if text == MASK:
            raise ValueError("this is the mask that stands for a token in dumps, not a token")
        if is_sealed(text):
            raise ValueError("this is a token as it lies sealed in the table, not a token")
        super().__init__(text)
        self._at_rest, self._opener = False, None

    @classmethod
    def at_rest(cls, stored: str, opener: Opener | None = None) -> Token:
        """Make a token of what the table holds: sealed, where *opener* opens it, or the clear text of another writer."""
        if stored == MASK:
            raise ValueError("this is the mask that stands for a token in dumps, not a token")
        return cls._made(stored, opener)

    @classmethod
    def masked(cls) -> Token:
        """Make what stands for a token in dumps; nothing that is written takes it."""
        return cls._made(MASK, None)

    @classmethod
    def _made(cls, stored: str, opener: Opener | None) -> Token:
        token = cls("")
        token._text, token._at_rest, token._opener = stored, True, opener
        return token

    @property
    def stored(self) -> str | None:
        """What the table holds, or is to hold; None for a token that was given and has no place in it yet."""
        return self._text if self._at_rest else None

    @property
    def opener(self) -> Opener | None:
        """What opens it, None where it is not sealed or was taken out of its item."""
        return self._opener

    @property
    def sealed(self) -> bool:
        """Whether it lies in the table encrypted; False for clear text, and for a token that was not written yet."""
        return self._at_rest and is_sealed(self._text)

    def reveal(self) -> str:
        """
        Give the token itself, decrypted if it is sealed. Do not log it.

        Raises:
            DecryptionError: Its key is gone, or it was sealed for another place, or altered.
            StoreError: The service that holds its key refused, or could not be reached.
        """
        if not self.sealed:
            return self._text
        if self._opener is None:
            raise DecryptionError("reveal token", None, "it was taken out of its item, which alone can open it; get() the item")
        return self._opener.open(self._text)

    def __eq__(self, other: object) -> bool:
        """Compare with another token; what is sealed alike at one place needs no key."""
        if not isinstance(other, Token):
            return NotImplemented
        if self.sealed and other.sealed and (self._text, self._opener) == (other._text, other._opener):
            return True
        return super().__eq__(other)

    __hash__ = None  # as its base says

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        from pydantic_core import core_schema  # settings hold secrets, and are read where no payload is

        return core_schema.with_info_before_validator_function(
            _hide,
            core_schema.custom_error_schema(
                core_schema.is_instance_schema(cls), "token", custom_error_message="not a token's text"
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="always"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> NoReturn:
        """Leave tokens out of JSON schemas, and so out of what an API says of its requests and answers."""
        from pydantic_core import PydanticOmit

        raise PydanticOmit


class _Hidden:
    """Stands for a value that is no token, so that no error can show what was given in its place."""

    def __repr__(self) -> str:
        return MASK


def _hide(value: object, info: ValidationInfo) -> object:
    return hidden(value, Token.at_rest if info.context == STORED else Token)


def hidden(value: object, make: Callable[[str], Token] = Token) -> object:
    """Give the token of a text, a token as it is, and for anything else what shows nothing of it and is no token."""
    if value is None or isinstance(value, Token):
        return value
    if not isinstance(value, str):
        return _Hidden()
    try:
        return make(value)
    except ValueError:
        return _Hidden()


_NAMES = frozenset({"access_token", "accessToken", "refresh_token", "refreshToken"})


def hide(values: dict[str, Any]) -> dict[str, Any]:
    """Hide, in place, the values that are given as tokens, before anything can fail and a traceback show them."""
    for name, value in values.items():
        if isinstance(name, str) and name.partition("__")[0] in _NAMES:
            values[name] = hidden(value)
    return values
