"""mlssocial in FastAPI: settings in its threads, payloads in requests and answers, what OpenAPI says of them, and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from threading import Barrier
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

import mlssocial
from mlssocial import (
    ConfigurationError,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnectionData,
    PerformanceMetricsData,
    SocialConnection,
    SocialConnectionData,
    SocialPostData,
    UserManagers,
)
from mlssocial.connection import store
from mlssocial.exceptions import InvalidCursorError, ItemAlreadyExistsError, ItemNotFoundError, StaleItemError, StoreError
from mlssocial.fastapi import (
    PROBLEMS,
    ExactRoute,
    MLSConnectionView,
    MLSSocial,
    Problem,
    SocialConnectionView,
    lifespan,
    managers,
)
from mlssocial.settings import current, scoped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ACTIVE = ListingData(status=ListingStatus.ACTIVE)
CANARY = "canary-token-value"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
TOKENS = {"accessToken": CANARY, "refreshToken": CANARY, "metadata": {"pageToken": CANARY}, "idToken": CANARY}
PAYLOADS = (ListingData, SocialPostData, PerformanceMetricsData, MLSConnectionData, SocialConnectionData)


class Strict(BaseModel, strict=True):
    whole: int
    anything: Any


class Around(BaseModel):
    needed: int
    connection: SocialConnectionData
    connections: dict[str, MLSConnectionData] = {}


def signed_in(user: Annotated[str | None, Header()] = None) -> str:
    """Say who is signed in; an application has something better for that."""
    if user is None:
        raise HTTPException(401)
    return user


Agent = Annotated[UserManagers, Depends(managers(signed_in))]
UNSET: dict[str, Any] = {"response_model_exclude_unset": True}


def make(name: str, **changes: Any) -> FastAPI:
    """Make an application with a table of its own in memory, and an endpoint for each kind of payload."""
    app = FastAPI(title=name, lifespan=lifespan, responses=PROBLEMS)
    MLSSocial(app, table_name=name, endpoint_url="local:", **changes)

    @app.put("/listings/{listing_id}", response_model=ListingData, **UNSET)
    def save_listing(listing_id: str, data: ListingData, agent: Agent) -> Any:
        return agent.listings.save(listing_id, data).data

    @app.get("/listings/{listing_id}", response_model=ListingData, **UNSET)
    def listing(listing_id: str, agent: Agent) -> Any:
        return agent.listings.get(listing_id).data

    @app.get("/listings", response_model=list[ListingData], **UNSET)
    def listings(agent: Agent, cursor: str | None = None) -> Any:
        return [one.data for one in agent.listings.query().page(10, cursor)]

    @app.put("/social/{platform}", response_model=SocialConnectionView)
    def save_social(platform: str, data: SocialConnectionData, agent: Agent) -> Any:
        return agent.social_connections.save(platform, data).data

    @app.get("/social/{platform}")
    def social(platform: str, agent: Agent) -> SocialConnectionData:
        return agent.social_connections.get(platform).data

    @app.put("/mls/{connection}", response_model=MLSConnectionView)
    def save_mls(connection: str, data: MLSConnectionData, agent: Agent) -> Any:
        return agent.mls_connections.save(connection, data).data

    return app


@pytest.fixture(scope="class")
def app() -> FastAPI:
    """Give an application; its class's tests share the table."""
    return make("homes-fastapi", allow_plaintext_tokens=False, token_keys={"k1": mlssocial.new_token_key()})


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Give a client of a user of the application, whose table is there."""
    with TestClient(app, headers={"User": "u1"}, raise_server_exceptions=False) as client:
        with mlssocial.settings.using(app.state.mlssocial.settings):
            mlssocial.create_table()
        yield client


def raw(client: TestClient, path: str, text: str) -> Any:
    """Put a body's text as it is."""
    return client.put(path, content=text, headers={"Content-Type": "application/json"})


class TestSettings:
    def test_are_the_applications(self) -> None:
        """An application's settings stand over the process's, and end with its request."""
        mlssocial.configure(table_name="everyones", region="us-west-2")
        own, none, whole = FastAPI(), FastAPI(), FastAPI()
        MLSSocial(own, table_name="own")
        MLSSocial(none)
        MLSSocial(whole, mlssocial.Settings(table_name="whole"), deadline=3)
        for app in (own, none, whole):
            app.add_api_route("/", lambda: f"{current().table_name} {current().region} {current().deadline}")
        found = [TestClient(app).get("/").json() for app in (own, none, whole)]
        assert found == ["own us-west-2 10.0", "everyones us-west-2 10.0", "whole None 3"]
        assert scoped() is None

    def test_refusals(self) -> None:
        """A setting that there is not, and a second registration, are refused; a lifespan without a table says what to do."""
        app = FastAPI(title="homes", lifespan=lifespan)
        with pytest.raises(ConfigurationError, match=r"tabel: no such setting; there are .*table_name"):
            MLSSocial(app, tabel="homes")
        with pytest.raises(ConfigurationError, match=r"homes has no table yet; call mlssocial\.fastapi\.MLSSocial\(app\)"):
            TestClient(app).__enter__()
        app = FastAPI(title="homes", lifespan=lifespan)
        MLSSocial(app)
        with pytest.raises(ConfigurationError, match="homes has mlssocial already"):
            MLSSocial(app)
        with pytest.raises(ConfigurationError, match="no table is configured"):
            TestClient(app).__enter__()

    def test_the_lifespan_holds_the_connection(self) -> None:
        """The client is there before the first request, is used by all, and is forgotten and closed behind the last."""
        app, stores = make("homes-lifespan"), []

        @asynccontextmanager
        async def whole(app: FastAPI) -> AsyncIterator[None]:
            async with lifespan(app):
                stores.append(store())
                assert store()._client is not None
                mlssocial.create_table()
                yield

        app.router.lifespan_context = whole
        app.add_api_route("/store", lambda: stores.append(store()))
        for _ in range(2):
            with TestClient(app) as client:
                client.get("/store")
                client.get("/store")
        first, second = stores[:3], stores[3:]
        assert first == [first[0]] * 3
        assert second == [second[0]] * 3
        assert first[0] is not second[0]
        assert first[0]._closed

    def test_reach_whatever_runs_for_a_request(self) -> None:
        """Threads, coroutines, background tasks, generators and dependencies of a request have the application's settings."""
        app = FastAPI()
        MLSSocial(app, table_name="own")
        seen: list[tuple[str, str]] = []

        def see(where: str) -> Iterator[str]:
            seen.append((where, current().table_name))
            yield where
            seen.append((where, current().table_name))

        def dependency() -> Iterator[str]:
            yield from see("dependency")

        @app.get("/thread", dependencies=[Depends(dependency)])
        def thread(tasks: BackgroundTasks) -> StreamingResponse:
            tasks.add_task(lambda: list(see("background")))
            list(see("thread"))
            return StreamingResponse(see("stream"), background=tasks)

        @app.get("/coroutine")
        async def coroutine() -> list[str]:
            return list(see("coroutine"))

        client = TestClient(app)
        assert client.get("/thread").text == "stream"
        assert client.get("/coroutine").json() == ["coroutine"]
        places = ("dependency", "thread", "stream", "background", "coroutine")
        assert Counter(seen) == Counter({(place, "own"): 2 for place in places})
        assert scoped() is None

    def test_threads_of_two_applications(self) -> None:
        """Requests to two applications that overlap in every step each read and write their own table, under their own keys."""
        both = Barrier(2, timeout=30)
        clients = {}
        for name in ("north", "south"):
            app = make(f"homes-{name}", token_keys={"k1": mlssocial.new_token_key()})

            @app.post("/{number}")
            def write(number: str) -> tuple[str, list[str]]:
                name = current().table_name
                both.wait()
                Listing.objects.create(name, number, ACTIVE)
                SocialConnection.objects.save("u1", "facebook", SocialConnectionData(access_token=f"token of {name}"))
                both.wait()
                token = SocialConnection.objects.get("u1", "facebook").data.access_token
                assert token is not None
                many = Listing.objects.get_many([(f"homes-{user}", number) for user in ("north", "south")])
                return token.reveal(), [user for user, _ in many]

            clients[name] = TestClient(app)
            with mlssocial.settings.using(app.state.mlssocial.settings):
                mlssocial.create_table()

        def work(name: str) -> list[Any]:
            with clients[name] as client:
                return [client.post(f"/{number}").json() for number in range(10)]

        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(clients, pool.map(work, clients), strict=True))
        assert found == {name: [[f"token of homes-{name}", [f"homes-{name}"]]] * 10 for name in clients}

    def test_without_fastapi(self) -> None:
        """Without FastAPI the import says which extra brings it, as an ImportError and as one of ours."""
        code = (
            "import sys; sys.modules['fastapi'] = None\n"
            "import mlssocial\n"
            "try: import mlssocial.fastapi\n"
            "except ImportError as error: print(isinstance(error, mlssocial.ConfigurationError), error.extra, error)"
        )
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert shown == "True fastapi mlssocial.fastapi needs FastAPI: pip install 'mlssocial[fastapi]'\n"


class TestManagers:
    def test_are_of_who_is_signed_in(self, client: TestClient) -> None:
        """A request has the managers of its user, and nothing of another's."""
        assert client.put("/listings/mine", json={"status": "active"}).status_code == 200
        assert client.get("/listings/mine").status_code == 200
        assert client.get("/listings/mine", headers={"User": "u2"}).status_code == 404
        assert client.get("/listings", headers={"User": "u2"}).json() == []
        for number in range(11):
            client.put(f"/listings/{number}", json={"status": "active"})
        with mlssocial.settings.using(client.app.state.mlssocial.settings):  # type: ignore[attr-defined]
            cursor = Listing.objects.query("u1").page(1).cursor
        assert client.get("/listings", params={"cursor": cursor}).status_code == 200
        refused = client.get("/listings", params={"cursor": cursor}, headers={"User": "u2"})
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")

    def test_whom_nobody_knows(self, client: TestClient) -> None:
        """The application's dependency refuses a request before anything else; a user id that cannot be is refused as a key."""
        del client.headers["User"]
        assert client.get("/listings/l1").status_code == 401
        assert client.get("/listings/l1", headers={"User": "a#b"}).status_code == 400


class TestPayloads:
    def test_numbers_stay_exact(self, client: TestClient) -> None:
        """Numbers of a body are stored digit for digit, as text or as JSON's, of known fields and of unknown ones."""
        exact = "0.1000000000000000055511151231257827"
        answer = raw(client, "/listings/l1", f'{{"status": "active", "price": {exact}, "bathrooms": "2.5", "odd": {exact}}}')
        assert answer.json() == {"status": "active", "price": exact, "bathrooms": "2.5", "odd": exact}
        with mlssocial.settings.using(client.app.state.mlssocial.settings):  # type: ignore[attr-defined]
            stored = Listing.objects.get("u1", "l1").data
        assert stored.price == stored.model_extra["odd"] == Decimal(exact)  # type: ignore[index]

    def test_what_was_not_set_is_not_answered(self, client: TestClient) -> None:
        """Absent, null and empty stay apart, from the body to the table and back."""
        body: dict[str, Any] = {"status": "active", "price": None, "features": [], "address": {"city": None}, "listDate": ""}
        assert client.put("/listings/l1", json=body).json() == body
        assert client.get("/listings/l1").json() == body

    @pytest.mark.parametrize(
        ("body", "status", "message"),
        [
            ("{", 422, "not JSON"),
            ('{"status": "active", "status": "sold"}', 422, "status is given twice"),
            ('{"status": "active", "price": 1e999}', 422, "outside of DynamoDB's range"),
            ('{"status": "active", "price": NaN}', 422, "not JSON"),
            ('{"status": "active", "price": "much"}', 422, "not a decimal number"),
            ("[" * 100 + "]" * 100, 422, "max_input_depth"),
            ('{"price": 1}', 422, "Field required"),
            ('"' + "x" * 2_000_000 + '"', 413, "max_input_bytes"),
        ],
    )
    def test_refusals(self, body: str, status: int, message: str, client: TestClient) -> None:
        """A body that cannot be, or passes a limit, is refused with the reason, in FastAPI's form."""
        answer = raw(client, "/listings/l1", body)
        assert answer.status_code == status
        assert message in answer.text
        assert status == 413 or all(one.keys() == {"type", "loc", "msg"} for one in answer.json()["detail"])

    def test_a_whole_number_is_an_int(self) -> None:
        """Models of an application's own get whole numbers as Python's parser gives them, and others exact."""
        app, seen = FastAPI(), []
        MLSSocial(app, table_name="homes")

        @app.post("/")
        def take(body: Strict, rate: Annotated[float, Body()]) -> None:
            seen.append((body.whole, body.anything, rate))

        client = TestClient(app)
        body = '{"body": {"whole": -12, "anything": [1, 1.50, 1e2, true, "a"]}, "rate": 0.5}'
        assert client.post("/", content=body, headers={"Content-Type": "application/json"}).status_code == 200
        assert repr(seen) == "[(-12, [1, Decimal('1.50'), Decimal('1E+2'), True, 'a'], 0.5)]"

    def test_other_bodies_are_as_ever(self, client: TestClient) -> None:
        """What is no JSON is FastAPI's business."""
        answer = client.put("/listings/l1", content=b"status=active", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 422

    def test_a_router_of_its_own(self) -> None:
        """A router's routes are exact where it says so, wherever it is included."""
        app, router = FastAPI(), APIRouter(route_class=ExactRoute)
        MLSSocial(app, table_name="homes")

        @router.post("/", response_model=ListingData, **UNSET)
        def take(data: ListingData) -> Any:
            return data

        app.include_router(router, prefix="/v1")
        answer = TestClient(app).post("/v1/", content='{"status":"sold","bathrooms":2.50}', headers={"Content-Type": "a/json"})
        assert answer.status_code == 422
        answer = TestClient(app).post("/v1/", json={"status": "sold", "bathrooms": 2.5})
        assert answer.json() == {"status": "sold", "bathrooms": "2.5"}


class TestTokens:
    def test_are_stored_and_not_answered(self, client: TestClient) -> None:
        """A view has no tokens, no metadata and no unknown field; a payload as it is has the mask in a token's place."""
        body = TOKENS | {"platformUsername": "jo", "expiresAt": "2030-01-01T00:00:00Z", "scope": ["post"]}
        shown = client.put("/social/facebook", json=body).json()
        assert shown.keys() == SocialConnectionView.model_json_schema()["properties"].keys()
        assert (shown["platformUsername"], shown["expiresAt"], shown["scope"]) == ("jo", "2030-01-01T00:00:00Z", ["post"])
        assert CANARY not in str(client.put("/mls/m1", json=TOKENS).json())
        whole = client.get("/social/facebook").json()
        assert (whole["accessToken"], whole["refreshToken"]) == ("**********", "**********")
        with mlssocial.settings.using(client.app.state.mlssocial.settings):  # type: ignore[attr-defined]
            token = SocialConnection.objects.get("u1", "facebook").data.access_token
            assert token is not None
            assert token.reveal() == CANARY

    @pytest.mark.parametrize("wrong", [{"accessToken": {"deep": CANARY}}, {"expiresAt": CANARY}, {"scope": CANARY}])
    def test_are_in_no_refusal(self, wrong: dict[str, Any], client: TestClient) -> None:
        """A body that is refused is not repeated, nor any part of it."""
        answer = client.put("/social/facebook", json=TOKENS | wrong)
        assert answer.status_code == 422
        assert CANARY not in answer.text

    def test_are_in_no_refusal_of_what_is_around(self) -> None:
        """A missing field beside a payload, for which FastAPI would show the whole body, shows none of it."""
        app = FastAPI()
        MLSSocial(app, table_name="homes")

        @app.post("/")
        def take(body: Around) -> None:
            raise AssertionError(body)

        answer = TestClient(app).post("/", json={"connection": TOKENS})
        assert answer.json() == {"detail": [{"type": "missing", "loc": ["body", "needed"], "msg": "Field required"}]}

    @pytest.mark.parametrize(
        ("view", "payload"), [(MLSConnectionView, MLSConnectionData), (SocialConnectionView, SocialConnectionData)]
    )
    def test_views_have_everything_else(self, view: type[BaseModel], payload: type[BaseModel]) -> None:
        """A view has each field of its payload by the same name, but for tokens and open maps."""
        names = {
            field.alias for name, field in payload.model_fields.items() if not name.endswith("token") and name != "metadata"
        }
        assert {field.alias for field in view.model_fields.values()} == names


@pytest.fixture(scope="class")
def document() -> dict[str, Any]:
    """Give the document of an application that takes and gives every payload, alone, in lists and inside of others."""
    app = make("homes-openapi")

    kinds: list[Any] = [*PAYLOADS, Around, *(list[kind] for kind in PAYLOADS)]  # type: ignore[valid-type]  # at run time
    for number, kind in enumerate(kinds):

        def echo(body: Any) -> Any:
            return body

        echo.__annotations__ = {"body": kind, "return": kind}
        app.post(f"/echo/{number}")(echo)
    document: dict[str, Any] = json.loads(TestClient(app).get("/openapi.json").text)
    return document


class TestOpenAPI:
    def test_has_no_token(self, document: dict[str, Any]) -> None:
        """No word of tokens stands in it, of requests or of answers."""
        schemas = document["components"]["schemas"]
        assert {"SocialConnectionData", "MLSConnectionData"} <= {name.partition("-")[0] for name in schemas}
        assert "oken" not in json.dumps(document)

    def test_has_every_other_field_by_its_wire_name(self, document: dict[str, Any]) -> None:
        """Requests and answers have a payload's fields as the table calls them; a listing's status alone is needed."""
        for payload in PAYLOADS:
            schemas = document["components"]["schemas"].items()
            found = [schema for name, schema in schemas if name.partition("-")[0] == payload.__name__]
            assert found
            for schema in found:
                names = {field.alias for name, field in payload.model_fields.items() if not name.endswith("token")}
                assert schema["properties"].keys() == names
                assert schema.get("required", []) == (["status"] if payload is ListingData else [])
                assert schema["additionalProperties"] is True

    @pytest.mark.parametrize(("side", "kinds"), [("Input", {"number", "string"}), ("Output", {"string"})])
    def test_says_how_money_is_written(self, side: str, kinds: set[str], document: dict[str, Any]) -> None:
        """An amount is taken as a number or as its text, and given as its text."""
        price = document["components"]["schemas"][f"ListingData-{side}"]["properties"]["price"]
        assert {one["type"] for one in price["anyOf"]} == kinds | {"null"}

    def test_has_the_errors(self, document: dict[str, Any]) -> None:
        """The errors stand there as they are answered."""
        responses = document["paths"]["/listings/{listing_id}"]["get"]["responses"]
        assert {"400", "404", "409", "422"} <= responses.keys()
        schema = responses["404"]["content"]["application/problem+json"]["schema"]
        assert schema == Problem.model_json_schema()

    @given(
        price=st.none() | st.decimals(-(10**12), 10**12, places=2),
        bedrooms=st.none() | st.integers(0, 99),
        synced_at=st.none() | st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)),
        list_date=st.none() | st.just("") | st.dates(),
        features=st.none() | st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
    )
    def test_answers_are_as_it_says(self, document: dict[str, Any], **fields: Any) -> None:
        """What is made of any listing is of a kind that its schema allows."""
        given = ListingData(status=ListingStatus.ACTIVE, **fields)
        shown = json.loads(TypeAdapter(ListingData).dump_json(given, by_alias=True))
        properties = document["components"]["schemas"]["ListingData-Output"]["properties"]
        kinds = {str: "string", type(None): "null", list: "array", dict: "object", bool: "boolean", int: "integer"}
        for name, value in shown.items():
            allowed = properties[name].get("anyOf", [{"type": "string"}])
            assert kinds[type(value)] in {one.get("type", "object") for one in allowed}


class TestErrors:
    KEY = ("USER#u1", "LISTING#secret")
    ERRORS = (
        (Listing.DoesNotExist("get Listing", KEY), 404),
        (ItemNotFoundError("get Listing", KEY, "it does not exist"), 404),
        (InvalidCursorError("the cursor is <b>"), 400),
        (StaleItemError("update Listing", KEY, "changed"), 409),
        (ItemAlreadyExistsError("create Listing", KEY, "it exists already"), 409),
        (StoreError("Query on homes: AccessDenied USER#u1 secret", code="AccessDenied"), 500),
    )

    def get(self, error: Exception, accept: str, app: FastAPI | None = None) -> Any:
        app = app or FastAPI()
        MLSSocial(app, table_name="homes")

        @app.get("/")
        def view() -> None:
            raise error

        return TestClient(app, raise_server_exceptions=False).get("/", headers={"Accept": accept})

    @pytest.mark.parametrize(("error", "status"), ERRORS)
    @pytest.mark.parametrize("accept", ["application/json", "*/*", BROWSER])
    def test_are_answered_as_flask_does(self, error: Exception, status: int, accept: str) -> None:
        """A client's error is a problem or a page, as it asks; a server's is a 500; neither shows a key."""
        answer = self.get(error, accept)
        assert answer.status_code == status
        assert not any(word in answer.text for word in ("secret", "AccessDenied", "USER#"))
        if status < 500:
            kind = "text/html; charset=utf-8" if accept == BROWSER else "application/problem+json"
            assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "Accept")
            assert accept != BROWSER or "<b>" not in answer.text

    def test_an_applications_own_handlers_stay(self) -> None:
        """An application that answers an error itself, given before or after, does so."""

        async def mine(*_: object) -> PlainTextResponse:
            return PlainTextResponse("mine", 418)

        app = FastAPI(exception_handlers={ItemNotFoundError: mine, RequestValidationError: mine})
        assert self.get(self.ERRORS[1][0], "*/*", app).text == "mine"
        assert app.exception_handlers[RequestValidationError] is mine
        later = FastAPI()
        later.add_exception_handler(StaleItemError, mine)
        assert self.get(self.ERRORS[3][0], "*/*", later).text == "mine"
