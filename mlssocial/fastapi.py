"""
mlssocial in FastAPI: ``MLSSocial(app)``, the ``lifespan``, and the managers of whoever is signed in as a dependency.

Nothing here awaits DynamoDB: declare endpoints that use the models with ``def``, and FastAPI runs them in its threads. See
docs/how-to/fastapi.md.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from . import connection, httperrors
from .entities import AnyPlatform, parse_number
from .exceptions import ConfigurationError, MissingExtraError
from .jsontext import InputError, parse
from .settings import Settings, changed, current, using
from .tenants import UserManagers, for_user

try:
    from fastapi import Depends, FastAPI, HTTPException, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.exception_handlers import request_validation_exception_handler
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from fastapi.routing import APIRoute
    from starlette.types import ASGIApp, Receive, Scope, Send
except ModuleNotFoundError as error:
    if error.name not in {"fastapi", "starlette"}:
        raise
    raise MissingExtraError("mlssocial.fastapi", "FastAPI", "fastapi") from None

__all__ = [
    "PROBLEMS",
    "ExactRoute",
    "MLSConnectionView",
    "MLSSocial",
    "Problem",
    "SocialConnectionView",
    "lifespan",
    "managers",
]

NAME = "mlssocial"


class MLSSocial:
    """
    Gives a FastAPI application its table: ``MLSSocial(app, table_name="homes")``, before its routes are declared.

    Its settings are in force in its requests and its lifespan, in their threads and background tasks too. Without any the
    application follows the process, ``mlssocial.configure()`` and the environment.

    Args:
        app: Its own handlers of mlssocial's errors stay, where it has them already.
        settings: A whole Settings; without it the start is what is in force.
        **changes: Fields of Settings.

    Raises:
        ConfigurationError: A setting is unknown or impossible, or the application has been given its table already.
    """

    def __init__(self, app: FastAPI, settings: Settings | None = None, **changes: Any) -> None:
        if hasattr(app.state, NAME):
            raise ConfigurationError(f"{app.title} has mlssocial already; call MLSSocial(app) once")
        self._own = changed(settings or current(), changes) if settings or changes else None
        app.state.mlssocial = self
        app.router.route_class = ExactRoute
        app.add_middleware(_InForce, mlssocial=self)
        for kind in httperrors.ERRORS:
            app.exception_handlers.setdefault(kind, _refused)
        if app.exception_handlers.get(RequestValidationError) is request_validation_exception_handler:
            app.add_exception_handler(RequestValidationError, _invalid)

    @property
    def settings(self) -> Settings:
        """The settings of the application."""
        return self._own or current()


class _InForce:
    """Puts an application's settings in force for what it is asked; its threads have them in their copy of the context."""

    def __init__(self, app: ASGIApp, mlssocial: MLSSocial) -> None:
        self._app, self._mlssocial = app, mlssocial

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with using(self._mlssocial.settings):
            await self._app(scope, receive, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """
    Make the client before the first request, and close its connections behind the last: ``FastAPI(lifespan=lifespan)``.

    An application with a lifespan of its own enters this one in it. Sends nothing.

    Raises:
        ConfigurationError: The application was not given its table, or nothing says which.
    """
    if not hasattr(app.state, NAME):
        raise ConfigurationError(f"{app.title} has no table yet; call mlssocial.fastapi.MLSSocial(app)")
    await run_in_threadpool(_connect)
    try:
        yield
    finally:
        await run_in_threadpool(connection.release)


def _connect() -> None:
    _ = connection.store().client


def managers(user_id: Callable[..., Any]) -> Callable[[str], Coroutine[Any, Any, UserManagers]]:
    """
    Give the dependency that has the managers of one user: ``Agent = Annotated[UserManagers, Depends(managers(signed_in))]``.

    Args:
        user_id: Your dependency that says who is signed in, as a user id, or refuses the request.
    """

    async def of_user(user: str = Depends(user_id)) -> UserManagers:
        return for_user(user)

    return of_user


class _ExactRequest(Request):
    """A request whose JSON is held to the settings ``max_input_*``, and whose numbers are not rounded."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            chunks, size, most = [], 0, current().max_input_bytes
            async for chunk in self.stream():
                size += len(chunk)
                if size > most:
                    raise HTTPException(413, f"more than {most:,} bytes (max_input_bytes)")
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        try:
            return parse(await self.body(), current(), _exact)
        except InputError as error:
            raise HTTPException(422, [{"type": "json_invalid", "loc": ["body"], "msg": str(error)}]) from None


def _exact(text: str) -> Any:
    """Make a whole number of digits, as Python's own parser does, and a Decimal of any other."""
    return int(text) if text.removeprefix("-").isdigit() else parse_number(text)


class ExactRoute(APIRoute):
    """
    A route that takes numbers of a JSON body digit for digit, where FastAPI makes binary floats, which payloads refuse.

    The routes of an application with :class:`MLSSocial` are such; any other router needs ``APIRouter(route_class=ExactRoute)``.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give FastAPI's handler such a request."""
        handler = super().get_route_handler()

        async def exact(request: Request) -> Response:
            return await handler(_ExactRequest(request.scope, request.receive))

        return exact


# --- What is answered ------------------------------------------------------------------------------------------------


class Problem(BaseModel):
    """What an error is answered with: https://www.rfc-editor.org/rfc/rfc9457."""

    type: str
    title: str
    status: int
    detail: str


def _documented(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {"description": description, "content": content}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _documented("An id or a cursor cannot be."),
    404: _documented("There is no such item."),
    409: _documented("There is such an item already, or it has changed since it was read."),
}
"""The errors as OpenAPI describes them: ``FastAPI(responses=PROBLEMS)``, or for a router or a route."""


async def _refused(request: Request, error: Any) -> Response:
    status, media_type, body = httperrors.answer(error, request.headers.get("accept", ""))
    return Response(body, status, {"Vary": "Accept"}, media_type)


async def _invalid(_: Request, error: Any) -> Response:
    """Answer as FastAPI does, without the input that it would show: that may be a body with a token."""
    return JSONResponse({"detail": [{name: one[name] for name in ("type", "loc", "msg")} for one in error.errors()]}, 422)


class _View(BaseModel):
    """What may be shown of a payload; made of it by FastAPI, or with ``model_validate(connection.data)``."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, from_attributes=True)


class MLSConnectionView(_View):
    """What may be shown of a user's access to an MLS feed: the fields that the model knows, and no secret."""

    id: str | None = None
    user_id: str | None = None
    provider: str | None = None
    agent_id: str | None = None
    brokerage_id: str | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    last_synced_at: datetime | None = None


class SocialConnectionView(_View):
    """What may be shown of a user's access to a social platform: known fields but metadata, and no secret."""

    id: str | None = None
    user_id: str | None = None
    platform: AnyPlatform | None = None
    expires_at: datetime | None = None
    scope: list[str] | None = None
    platform_user_id: str | None = None
    platform_username: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
