"""A secret that does not show itself."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

MASK = "*" * 10


class Token:
    """
    An OAuth or MLS token: shows ``**********``, and gives its value only to :meth:`reveal`.

    Equal to a token with the same value, compared in constant time. False where it is empty, as the other application stores
    a refresh token that it does not have. It does not pickle, and a payload dumps it as the mask.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # a hash would tell equal tokens apart from others in any log

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"a token is a string, not {type(value).__name__}")
        if value == MASK:
            raise ValueError("this is the mask that stands for a token in dumps, not a token")
        self._value = value

    def reveal(self) -> str:
        """Give the token itself. Do not log it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return hmac.compare_digest(self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        return f"Token({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token does not pickle; reveal() it where it is needed")

    def __copy__(self) -> Token:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Token:
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(
            _hide,
            core_schema.custom_error_schema(
                core_schema.is_instance_schema(cls), "token", custom_error_message="not a token's text"
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="always"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


class _Hidden:
    """Stands for a value that is no token, so that no error can show what was given in its place."""

    def __repr__(self) -> str:
        return MASK


def _hide(value: object) -> object:
    if isinstance(value, str) and value != MASK:
        return Token(value)
    return value if isinstance(value, Token) else _Hidden()
