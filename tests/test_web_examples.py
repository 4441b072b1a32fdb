"""The examples of Flask and FastAPI, over HTTP: as their pages say, and with the requests to DynamoDB counted."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from html import unescape
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from werkzeug.serving import make_server

from mlssocial import Listing, ListingStatus
from mlssocial.settings import Settings, using
from mlssocial.testing import assert_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
APPS = ("flask_app", "fastapi_app")
AGENT = {"Authorization": "Bearer demo"}
SECONDS = 60

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not there")


def load(name: str, module: str) -> Any:
    """Import an example's module from its folder, as nothing else's."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where Flask looks for its templates' folder
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Give the settings of a table in memory, for the module."""
    return Settings(endpoint_url="local:", table_name=f"examples-{uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def flask_site(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the Flask example, in a thread of this process."""
    app = load("flask_app", "app").create_app(MLSSOCIAL_ENDPOINT_URL="local:", MLSSOCIAL_TABLE_NAME=settings.table_name)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def fastapi_site(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the FastAPI example, in a thread of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSSOCIAL_ENDPOINT_URL", "local:")
        patch.setenv("MLSSOCIAL_TABLE_NAME", settings.table_name)
        patch.setattr("mlssocial.settings._settings", None)
        app = load("fastapi_app", "main").app
    app.state.mlssocial._own = settings  # the environment of a test ends with it, and the server serves several
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", headers=AGENT) as client:
            wait_for(client, "/docs")
            yield client
        server.should_exit = True
        thread.join()


def wait_for(client: httpx.Client, path: str) -> httpx.Response:
    """Ask until a server answers."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            return client.get(path)
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class TestAsTheirPagesSay:
    @pytest.mark.parametrize("name", APPS)
    def test_two_commands(self, name: str, tmp_path: Path) -> None:
        """An example's two commands, in a copy of its folder, serve a page of listings out of a file."""
        folder = shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.db*"))
        install, serve = re.findall(r"^    (.+)$", (folder / "README.md").read_text(), re.MULTILINE)[:2]
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg")
        (extras,) = re.findall(r"^pip install \"mlssocial\[(.+)\]\"", install)
        assert set(extras.split(",")) <= set(config["options.extras_require"])
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        command = [sys.executable, "-m", *shlex.split(serve), "--port", str(port)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLSSOCIAL_")}
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server:
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=AGENT) as client:
                    answer = wait_for(client, "/" if name == "flask_app" else "/listings")
                    assert answer.status_code == 200
                    assert "Sacramento" in answer.text
            finally:
                server.terminate()
        assert (folder / "homes.db").exists()


class TestFlask:
    def links(self, page: str) -> list[str]:
        return re.findall(r'href="(/listings/[^"]+)"', page)

    def test_a_page_is_one_request(self, flask_site: httpx.Client) -> None:
        """A page of active listings costs one request to DynamoDB, of the access pattern for it."""
        with assert_requests(exactly=1, pattern=3):
            answer = flask_site.get("/")
        assert len(self.links(answer.text)) == 10

    def test_pages_to_the_end(self, flask_site: httpx.Client, settings: Settings) -> None:
        """The links to the next page lead through every active listing once, the newest first."""
        seen, path = [], "/"
        while path:
            page = flask_site.get(path).text
            seen += self.links(page)
            path = unescape(next(iter(re.findall(r'rel="next" href="([^"]+)"', page)), ""))
        with using(settings):
            active = list(Listing.objects.query_by_status("agent-1", "active", reverse=True))
        assert seen == [f"/listings/{one.listing_id}" for one in active]
        assert len(seen) > 100

    def test_publishing(self, flask_site: httpx.Client) -> None:
        """A form that is sent twice publishes once, and what is in it is text; another site's form is refused."""
        path = self.links(flask_site.get("/").text)[0]
        page = flask_site.get(path).text
        assert "No posts yet" in page
        (post_id,) = re.findall(r'name="post_id" value="([^"]+)"', page)
        form = {"post_id": post_id, "platform": "facebook", "content": "<b>New</b> in town"}
        other = flask_site.post(f"{path}/posts", data=form, headers={"Sec-Fetch-Site": "cross-site"})
        assert other.status_code == 403
        for _ in range(2):
            answer = flask_site.post(f"{path}/posts", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, path)
        page = flask_site.get(path).text
        assert page.count("&lt;b&gt;New&lt;/b&gt; in town") == 1
        assert "<b>New" not in page

    def test_refusals(self, flask_site: httpx.Client, settings: Settings) -> None:
        """What is not there, a broken cursor, an incomplete form and a listing off the market are the client's errors."""
        with using(settings):
            sold = Listing.objects.query_by_status("agent-1", ListingStatus.SOLD).first()
            assert sold is not None
        path, form = self.links(flask_site.get("/").text)[1], {"post_id": "p", "platform": "facebook", "content": "x"}
        found = [
            flask_site.get("/listings/none").status_code,
            flask_site.get("/?cursor=broken").status_code,
            flask_site.post(f"{path}/posts", data=form | {"platform": "myspace"}).status_code,
            flask_site.post("/listings/none/posts", data=form).status_code,
            flask_site.post(f"/listings/{sold.listing_id}/posts", data=form).status_code,
        ]
        assert found == [404, 400, 400, 404, 409]
        assert "<h1>Not Found</h1>" in flask_site.get("/listings/none", headers={"Accept": "text/html"}).text


class TestFastAPI:
    def test_a_page_is_one_request(self, fastapi_site: httpx.Client) -> None:
        """A page of active listings costs one request to DynamoDB, of the access pattern for it."""
        with assert_requests(exactly=1, pattern=3):
            answer = fastapi_site.get("/listings", params={"limit": 5})
        page = answer.json()
        assert len(page["items"]) == 5
        assert page["items"][0]["data"]["status"] == "active"

    def test_pages_to_the_end(self, fastapi_site: httpx.Client, settings: Settings) -> None:
        """The cursors lead through every active listing once, the newest first."""
        seen: list[str] = []
        cursor = None
        while cursor is not None or not seen:
            page = fastapi_site.get("/listings", params={"limit": 50} | ({"cursor": cursor} if cursor else {})).json()
            seen += [item["listing_id"] for item in page["items"]]
            cursor = page["cursor"]
        with using(settings):
            active = list(Listing.objects.query_by_status("agent-1", "active", reverse=True))
        assert seen == [one.listing_id for one in active]
        assert len(seen) > 100

    def test_publishing(self, fastapi_site: httpx.Client) -> None:
        """A post is made once; sent again it is there already."""
        listing = fastapi_site.get("/listings", params={"limit": 1}).json()["items"][0]["listing_id"]
        path, post = f"/listings/{listing}/posts/{uuid4()}", {"platform": "linkedin", "content": "New in town"}
        assert [fastapi_site.put(path, json=post).status_code for _ in range(2)] == [201, 409]
        found = fastapi_site.get(f"/listings/{listing}").json()
        assert found["listing"]["listing_id"] == listing
        assert [one["data"]["content"] for one in found["posts"]].count("New in town") == 1

    def test_refusals(self, fastapi_site: httpx.Client, settings: Settings) -> None:
        """Who is not signed in, what is not there, a broken cursor, a bad body and a listing off the market are refused."""
        with using(settings):
            sold = Listing.objects.query_by_status("agent-1", ListingStatus.SOLD).first()
            assert sold is not None
        post = {"platform": "linkedin", "content": "New in town"}
        found = [
            fastapi_site.get("/listings", headers={"Authorization": "Bearer other"}).status_code,
            fastapi_site.get("/listings/none").status_code,
            fastapi_site.get("/listings", params={"cursor": "broken"}).status_code,
            fastapi_site.put(f"/listings/{sold.listing_id}/posts/{uuid4()}", json=post | {"content": ""}).status_code,
            fastapi_site.put(f"/listings/{sold.listing_id}/posts/{uuid4()}", json=post).status_code,
        ]
        assert found == [401, 404, 400, 422, 409]

    def test_its_document(self, fastapi_site: httpx.Client) -> None:
        """The document describes the listings, the errors and how to sign in."""
        document = fastapi_site.get("/openapi.json").json()
        assert document["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
        assert {"ListingPage", "ListingWithPosts", "PostOut", "ListingData"} <= document["components"]["schemas"].keys()
        assert {"200", "400", "404"} <= document["paths"]["/listings/{listing_id}"]["get"]["responses"].keys()
