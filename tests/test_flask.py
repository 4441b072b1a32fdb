"""mlssocial in Flask: settings, errors, commands and the shell of an application, each under its own table."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, abort, g, stream_with_context

import mlssocial
from mlssocial import ConfigurationError, Listing, ListingData, ListingStatus, Settings, SocialConnection, SocialConnectionData
from mlssocial.exceptions import (
    InvalidCursorError,
    InvalidKeyError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    MLSSocialError,
    StaleItemError,
    StoreError,
)
from mlssocial.flask import MLSSocial
from mlssocial.settings import current, scoped, using

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACTIVE = ListingData(status=ListingStatus.ACTIVE)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
KEY = ("USER#u1", "LISTING#secret")


def make(**config: Any) -> Flask:
    app = Flask("homes")
    app.config.from_mapping({f"MLSSOCIAL_{name.upper()}": value for name, value in config.items()})
    MLSSocial(app)
    return app


def settings(app: Flask) -> Settings:
    """Give the settings that are in force in an application's context."""
    with app.app_context():
        return current()


def raiser(error: Exception) -> Callable[[], str]:
    """Give a view that raises an error."""

    def view() -> str:
        raise error

    return view


class TestConfiguration:
    def test_stands_over_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What an application does not say is as the process has it."""
        monkeypatch.setenv("MLSSOCIAL_REGION", "us-west-2")
        found = settings(make(table_name="homes", deadline=2.5, max_pool_connections=3))
        assert (found.table_name, found.deadline, found.max_pool_connections, found.region) == ("homes", 2.5, 3, "us-west-2")
        assert current().table_name == ""

    def test_without_any_follows_the_process(self) -> None:
        """An application that says nothing is under what is configured, then or later."""
        app = make()
        for name in ("before", "after"):
            everyones = mlssocial.configure(table_name=name)
            assert settings(app) is everyones

    @pytest.mark.parametrize(
        ("name", "text", "found"),
        [
            ("table_name", "homes", "homes"),
            ("table_name", "2024", "2024"),
            ("table_name", '"2024"', "2024"),
            ("deadline", "3", 3),
            ("deadline", "2.5", 2.5),
            ("deadline", '"2.5"', 2.5),
            ("max_pool_connections", "64", 64),
            ("allow_plaintext_tokens", "false", False),
            ("allow_plaintext_tokens", "No", False),
            ("allow_plaintext_tokens", "0", False),
            ("region", "null", None),
            ("region", "", None),
            ("token_context", "7", "7"),
        ],
    )
    def test_prefixed_environment(self, name: str, text: str, found: object, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key from Flask's environment has its setting's type, whatever JSON makes of its text."""
        monkeypatch.setenv(f"FLASK_MLSSOCIAL_{name.upper()}", text)
        app = Flask("homes")
        app.config.from_prefixed_env()
        MLSSocial(app)
        assert getattr(settings(app), name) == found

    @pytest.mark.parametrize("way", ["text", "JSON", "nested"])
    def test_keys_from_the_prefixed_environment(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Token keys come as the environment has them, as JSON, or one variable a key; the configuration then shows none."""
        key = mlssocial.new_token_key()
        monkeypatch.delenv("MLSSOCIAL_TOKEN_KEYS")
        monkeypatch.setenv(
            "FLASK_MLSSOCIAL_TOKEN_KEYS" + ("__k1" if way == "nested" else ""),
            {"text": f"k1={key}", "JSON": json.dumps({"k1": key}), "nested": key}[way],
        )
        app = Flask("homes")
        app.config.from_prefixed_env()
        MLSSocial(app)
        assert {name: one.reveal() for name, one in settings(app).token_keys.items()} == {"k1": key}
        assert key not in repr(app.config)

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"MLSSOCIAL_TABEL": "homes"}, r"MLSSOCIAL_TABEL: no such setting; there are .*MLSSOCIAL_TABLE_NAME"),
            ({"MLSSOCIAL_DEADLINE": "soon"}, "MLSSOCIAL_DEADLINE: a number is needed"),
            ({"MLSSOCIAL_DEADLINE": -1}, "deadline: a number above zero"),
            ({"MLSSOCIAL_TABLE_NAME": 1.5}, "table_name: a string is needed, not float"),
            ({"MLSSOCIAL_ALLOW_PLAINTEXT_TOKENS": 2}, "MLSSOCIAL_ALLOW_PLAINTEXT_TOKENS: true or false"),
            ({"MLSSOCIAL_KEY_PROVIDER": "kms"}, "MLSSOCIAL_KEY_PROVIDER: a provider is an object"),
        ],
    )
    def test_refusals(self, config: dict[str, Any], message: str) -> None:
        """A key that no setting has, and a value that cannot be, are refused by name, and the application is left as it was."""
        app = Flask("homes")
        app.config.update(config)
        with pytest.raises(ConfigurationError, match=message):
            MLSSocial(app)
        assert "mlssocial" not in app.extensions

    @pytest.mark.parametrize("keys", ["k1=CANARYCANARY", {"k1": "CANARYCANARY"}])
    def test_a_refused_key_is_not_shown(self, keys: object) -> None:
        """A token key that is none is named by its id; neither the error nor the frames of this package show it."""
        app = Flask("homes")
        app.config["MLSSOCIAL_TOKEN_KEYS"] = keys
        with pytest.raises(ConfigurationError, match="k1 is neither") as caught:
            MLSSocial(app)
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
        ours = [frame for frame in frames if "mlssocial" in frame.filename and "tests" not in frame.filename]
        assert len(ours) > 2
        assert "CANARY" not in str([frame.locals for frame in ours]) + repr(app.config) + str(caught.value)

    def test_twice(self) -> None:
        """An application that has the extension refuses it a second time."""
        app = make(table_name="homes")
        with pytest.raises(ConfigurationError, match=r"<Flask 'homes'> has mlssocial already"):
            MLSSocial(app)

    def test_one_extension_for_many(self) -> None:
        """One extension serves many applications, each with its own settings."""
        extension, apps = MLSSocial(), [Flask("a"), Flask("b")]
        for app in apps:
            app.config["MLSSOCIAL_TABLE_NAME"] = app.name
            extension.init_app(app)
            assert app.extensions["mlssocial"] is extension
        assert [extension.settings(app).table_name for app in apps] == ["a", "b"]

    def test_without_flask(self) -> None:
        """Without Flask the import says which extra brings it, as an ImportError and as one of ours."""
        code = (
            "import sys; sys.modules['flask'] = None\n"
            "import mlssocial\n"
            "try: import mlssocial.flask\n"
            "except ImportError as error: print(isinstance(error, mlssocial.ConfigurationError), error.extra, error)"
        )
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert shown == "True flask mlssocial.flask needs Flask: pip install 'mlssocial[flask]'\n"


class TestScope:
    def test_ends_with_the_context(self) -> None:
        """An application's settings are in force in its contexts, nested or pushed twice, and leave none behind."""
        a, b = make(table_name="a"), make(table_name="b")
        with a.app_context() as context:
            with b.app_context(), b.test_request_context():
                assert current().table_name == "b"
            with context:
                assert current().table_name == "a"
            assert current().table_name == "a"
        assert scoped() is None

    def test_a_context_from_before_the_extension(self) -> None:
        """A context that was pushed before the extension came ends as it would without."""
        app = Flask("homes")
        app.config["MLSSOCIAL_TABLE_NAME"] = "homes"
        with app.app_context():
            MLSSocial(app)
        assert scoped() is None

    def test_teardown_has_it(self) -> None:
        """What runs at the end of a context still has the settings, and where it fails they end all the same."""
        app, seen = make(table_name="homes"), []

        def fail(_: object) -> None:
            seen.append(current().table_name)
            raise RuntimeError("on purpose")

        app.teardown_appcontext(fail)
        with pytest.raises(RuntimeError, match="on purpose"), app.app_context():
            pass
        assert (seen, scoped()) == (["homes"], None)

    def test_a_failing_request_leaves_none(self) -> None:
        """After a request that ended in an error the thread has the process's settings again."""
        app = make(table_name="homes")
        app.add_url_rule("/", view_func=raiser(ZeroDivisionError()))
        assert app.test_client().get("/").status_code == 500
        assert scoped() is None

    def test_streams(self) -> None:
        """A streamed answer has the settings to its end where Flask keeps the context for it."""
        app = make(table_name="homes")

        def rows() -> Iterator[str]:
            yield current().table_name
            yield current().table_name

        app.add_url_rule("/", view_func=lambda: stream_with_context(rows()))
        assert app.test_client().get("/").text == "homeshomes"
        assert scoped() is None

    def test_async_views(self) -> None:
        """A view that is a coroutine has the settings."""
        app = make(table_name="homes")

        async def view() -> str:
            return current().table_name

        app.add_url_rule("/", view_func=view)
        assert app.test_client().get("/").text == "homes"

    def test_threads_of_two_applications(self) -> None:
        """Requests to two applications that overlap in every step each read and write their own table, under their own keys."""
        apps = {}
        for name in ("north", "south"):
            apps[name] = make(table_name=name, endpoint_url="local:", token_keys={"k1": mlssocial.new_token_key()})
            with apps[name].app_context():
                mlssocial.create_table()
        both = Barrier(2, timeout=30)

        def work(name: str) -> list[str]:
            client, app = apps[name].test_client(), apps[name]
            return [client.get(f"/{number}").text for number in range(10)] + [app.name]

        def view(number: str) -> str:
            name = current().table_name
            both.wait()
            Listing.objects.create(name, number, ACTIVE)
            SocialConnection.objects.save("u1", "facebook", SocialConnectionData(access_token=f"token of {name}"))
            both.wait()
            token = SocialConnection.objects.get("u1", "facebook").data.access_token
            many = Listing.objects.get_many([(user, number) for user in ("north", "south")])
            assert token is not None
            return f"{name} {token.reveal()} {sorted(many)}"

        for app in apps.values():
            app.add_url_rule("/<number>", view_func=view)
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(apps, pool.map(work, apps), strict=True))
        for name in apps:
            assert found[name][:-1] == [f"{name} token of {name} {[(name, str(number))]}" for number in range(10)]


class TestErrors:
    ERRORS = (
        (ItemNotFoundError("get Listing", KEY, "it does not exist"), 404, "There is no such item."),
        (Listing.DoesNotExist("get Listing", KEY), 404, "There is no such item."),
        (InvalidCursorError("the cursor is cut"), 400, "the cursor is cut"),
        (InvalidKeyError("listing_id", "'<b>' is odd"), 400, "listing_id: '<b>' is odd"),
        (StaleItemError("update Listing", KEY, "changed"), 409, "The item has changed since it was read. Read it again."),
        (ItemAlreadyExistsError("create Listing", KEY, "it exists already"), 409, "There is such an item already."),
    )

    def client(self, error: Exception) -> Any:
        app = make(table_name="homes")
        app.add_url_rule("/", view_func=raiser(error))
        return app.test_client()

    @pytest.mark.parametrize(("error", "status", "detail"), ERRORS)
    @pytest.mark.parametrize("accept", ["application/json", "*/*", "", "text/html;q=0.5, application/json", "text/html;q=odd"])
    def test_json(self, error: MLSSocialError, status: int, detail: str, accept: str) -> None:
        """A client that takes JSON gets a problem of RFC 9457, without the item's key."""
        answer = self.client(error).get("/", headers={"Accept": accept})
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
        problem = json.loads(answer.text)
        assert problem.keys() == {"type", "title", "status", "detail"}
        assert (problem["status"], problem["detail"]) == (status, detail)
        assert "secret" not in answer.text

    @pytest.mark.parametrize(("error", "status", "detail"), ERRORS)
    @pytest.mark.parametrize("accept", [BROWSER, "text/html", "application/xhtml+xml, application/json;q=0.9"])
    def test_html(self, error: MLSSocialError, status: int, detail: str, accept: str) -> None:
        """A browser gets a page, in which nothing of the error is markup."""
        answer = self.client(error).get("/", headers={"Accept": accept})
        assert (answer.status_code, answer.mimetype, answer.headers["Vary"]) == (status, "text/html", "Accept")
        assert "<b>" not in answer.text
        assert "secret" not in answer.text
        assert f"<p>{detail}</p>" in answer.text.replace("&#x27;", "'").replace("&lt;", "<").replace("&gt;", ">")

    @pytest.mark.parametrize("accept", ["application/json", BROWSER])
    def test_what_is_the_servers_is_not_shown(self, accept: str) -> None:
        """An error that is not the client's is a 500 that says nothing of it."""
        client = self.client(StoreError("Query on homes: AccessDenied USER#u1", code="AccessDenied"))
        answer = client.get("/", headers={"Accept": accept})
        assert answer.status_code == 500
        assert not any(word in answer.text for word in ("homes", "AccessDenied", "USER"))

    @pytest.mark.parametrize("before", [True, False])
    def test_an_applications_own_handler_stays(self, *, before: bool) -> None:
        """An application that answers an error itself does so, whichever handler came first."""
        app = Flask("homes")
        if not before:
            MLSSocial(app)
        app.register_error_handler(ItemNotFoundError, lambda _: ("mine", 404))
        if before:
            MLSSocial(app)
        app.add_url_rule("/", "key", lambda: Listing.objects.get("u1", "").listing_id)
        app.add_url_rule("/gone", "gone", lambda: abort(404))
        app.add_url_rule("/listing", "listing", raiser(self.ERRORS[0][0]))
        client = app.test_client()
        assert client.get("/listing").text == "mine"
        assert client.get("/").status_code == 400
        assert "problem" not in client.get("/gone").text

    def test_from_the_table(self) -> None:
        """What the managers raise in a view is answered as it should be."""
        app = make(endpoint_url="local:", table_name="errors")
        app.add_url_rule("/<listing>", view_func=lambda listing: Listing.objects.get("u1", listing).listing_id)
        with app.app_context():
            mlssocial.create_table()
            Listing.objects.create("u1", "l1", ACTIVE)
        client = app.test_client()
        found = {path: client.get(path).status_code for path in ("/l1", "/l2", "/l%231")}
        assert found == {"/l1": 200, "/l2": 404, "/l%231": 400}


class TestCommands:
    def test_run_under_the_applications_settings(self) -> None:
        """`flask mlssocial` works on the application's table; an option goes before its settings, for that command alone."""
        app = make(endpoint_url="local:", table_name="mounted")
        run = app.test_cli_runner().invoke
        assert run(args=["mlssocial", "init"]).output == "mounted: made; all is well\n"
        assert run(args=["mlssocial", "--table", "other", "init"]).output == "other: made; all is well\n"
        assert run(args=["mlssocial", "init"]).output == "mounted: it stands already; all is well\n"
        with app.app_context():
            Listing.objects.create("u1", "l1", ACTIVE)
        listed = run(args=["mlssocial", "listings", "--user", "u1", "--json"])
        assert [item["listingId"] for item in json.loads(listed.stdout)["items"]] == ["l1"]
        assert scoped() is None
        assert mlssocial.settings._settings is None or current().table_name == ""

    def test_follow_the_process(self) -> None:
        """The commands of an application without settings work on the process's table."""
        mlssocial.configure(endpoint_url="local:", table_name="everyones")
        with using(current()):
            mlssocial.create_table()
        found = make().test_cli_runner().invoke(args=["mlssocial", "init"])
        assert found.output == "everyones: it stands already; all is well\n"

    def test_errors_are_one_line(self) -> None:
        """An error of this package is one line and exit code 1, as of mlssocial itself."""
        app = make(endpoint_url="local:", table_name="errors-of-commands")
        run = app.test_cli_runner().invoke
        assert run(args=["mlssocial", "init"]).exit_code == 0
        found = run(args=["mlssocial", "show", "u1", "LISTING#none"])
        assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
        assert "it does not exist" in found.stderr

    def test_flask_itself(self, tmp_path: Any) -> None:
        """The flask command lists and runs them, and loads none of their modules until one is invoked."""
        (tmp_path / "app.py").write_text(
            "import sys\nfrom flask import Flask\nfrom mlssocial.flask import MLSSocial\n"
            "app = Flask(__name__)\napp.config['MLSSOCIAL_ENDPOINT_URL'] = 'local:homes.db'\nMLSSocial(app)\n"
            "@app.cli.command()\ndef loaded():\n    print('rich' in sys.modules, 'mlssocial.models' in sys.modules)\n"
        )

        def run(*args: str) -> str:
            command = [sys.executable, "-m", "flask", "--app", "app", *args]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

        assert "mlssocial" in run("--help")
        assert run("loaded") == "False False\n"
        assert run("mlssocial", "init") == "mlssocial: made; all is well\n"
        assert "Import listings from an MLS" in run("mlssocial", "--help")

    def test_without_a_table(self) -> None:
        """Where neither the application nor the process names a table, that is said, and no other is made up."""
        found = make().test_cli_runner().invoke(args=["mlssocial", "init"])
        assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
        assert "no table is configured" in found.stderr

    def test_without_rich(self, tmp_path: Any) -> None:
        """An application works without the extra of the command line, whose commands then name it."""
        code = (
            "import sys; sys.modules['rich'] = None\n"
            "from flask import Flask\nfrom mlssocial.flask import MLSSocial\n"
            "app = Flask('homes')\nMLSSocial(app)\nfound = app.test_cli_runner().invoke(args=['mlssocial', 'init'])\n"
            "print(found.exit_code, found.stderr)"
        )
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert shown.strip() == "1 error: the command line needs rich: pip install 'mlssocial[cli]'"

    def test_shell(self) -> None:
        """`flask shell` has every public name at hand."""
        found = make().make_shell_context()
        assert found["Listing"] is Listing
        assert set(mlssocial.__all__) <= found.keys()


def test_flasks_own_globals_stay_free() -> None:
    """Nothing stands in an application's g that it could take for its own."""
    with make(table_name="homes").app_context():
        assert [name for name in g if not name.startswith("_")] == []
