"""What ``mlssocial.django`` promises. Run by Django's own test runner, under every Django that is supported."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar
from unittest import TestResult, TestSuite, mock

import django
from django.conf import settings
from django.contrib.auth.models import User
from django.core import checks, mail
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, execute_from_command_line
from django.core.management.base import CommandError, SystemCheckError
from django.http import Http404
from django.template import Context, Template
from django.test import AsyncRequestFactory, RequestFactory, SimpleTestCase, TestCase, override_settings
from django.urls import resolve, reverse
from django.views.debug import ExceptionReporter, get_exception_reporter_filter

import mlssocial
from mlssocial import Listing, ListingData, ListingStatus, MLSConnection, MLSConnectionData, SocialPost, for_user
from mlssocial.django import conf
from mlssocial.django.paginator import CursorPaginator
from mlssocial.django.shortcuts import get_item_or_404
from mlssocial.django.signals import post_delete, post_save
from mlssocial.django.test import MLSSocialTestMixin
from mlssocial.settings import current
from mlssocial.testing import assert_requests

KEY = settings.MLSSOCIAL["TOKEN_KEYS"]["k1"]


def listing(price: int = 1, **fields: Any) -> ListingData:
    return ListingData(status="active", price=price, **fields)


def command(*arguments: str) -> str:
    """Run ``manage.py mlssocial`` in this process, and give what it printed."""
    out = StringIO()
    call_command("mlssocial", *arguments, stdout=out)
    return out.getvalue()


class Configuration(SimpleTestCase):
    def test_the_setting_is_in_force(self) -> None:
        """MLSSOCIAL is in force when Django has started, over the environment, whose other settings hold."""
        assert (current().table_name, current().endpoint_url) == ("homes", "local:")
        with mock.patch.dict(os.environ, {"MLSSOCIAL_DEADLINE": "3", "MLSSOCIAL_TABLE_NAME": "other"}):
            with override_settings(MLSSOCIAL={"TABLE_NAME": "mine"}):
                assert (current().table_name, current().deadline) == ("mine", 3)
            with override_settings(MLSSOCIAL=None):
                assert current().table_name == "other"

    def test_override_settings(self) -> None:
        """override_settings takes effect, inside of another one too, and is undone."""
        with override_settings(MLSSOCIAL={"TABLE_NAME": "outer", "DEADLINE": 2}):
            with override_settings(MLSSOCIAL={"TABLE_NAME": "inner"}):
                assert (current().table_name, current().deadline) == ("inner", 10)
            assert (current().table_name, current().deadline) == ("outer", 2)
            with override_settings(LANGUAGE_CODE="fr"):
                assert current().table_name == "outer"
        assert current().table_name == "homes"

    def test_without_the_setting(self) -> None:
        """A site without MLSSOCIAL has the environment's settings."""
        with self.settings(MLSSOCIAL={}):
            del settings.MLSSOCIAL
            assert not hasattr(settings, "MLSSOCIAL")
            assert conf.configure().table_name == ""
            with mock.patch.dict(os.environ, {"MLSSOCIAL_TABLE_NAME": "other"}):
                assert conf.configure().table_name == "other"
        assert current().table_name == "homes"

    def test_an_unknown_key(self) -> None:
        """An unknown key is refused, with the names of those that there are; what was in force stays."""
        for name in ("TABEL_NAME", "table_name"):
            with self.assertRaisesMessage(ImproperlyConfigured, f"MLSSOCIAL: {name}: no such key; there are "):
                override_settings(MLSSOCIAL={name: "x"}).enable()
            assert current().table_name == "homes"
        with self.assertRaisesMessage(ImproperlyConfigured, "TABLE_NAME, TOKEN_CONTEXT, TOKEN_KEYS, TRANSPORT"):
            override_settings(MLSSOCIAL={"X": 1}).enable()

    def test_what_cannot_work(self) -> None:
        """A value that cannot work is refused by its name, and so is a setting that is no dict."""
        with self.assertRaisesMessage(ImproperlyConfigured, "MLSSOCIAL: deadline: a number above zero is needed, not 0"):
            override_settings(MLSSOCIAL={"DEADLINE": 0}).enable()
        with self.assertRaisesMessage(ImproperlyConfigured, "MLSSOCIAL: a dict is needed, not list"):
            override_settings(MLSSOCIAL=["TABLE_NAME"]).enable()

    def test_no_key_is_shown(self) -> None:
        """Neither Django's debug page nor an error about the setting shows a key of tokens."""
        page = str(get_exception_reporter_filter(None).get_safe_settings()["MLSSOCIAL"])
        assert "homes" in page
        assert KEY not in page
        try:
            override_settings(MLSSOCIAL={"TOKEN_KEYS": {"k1": KEY}, "DEADLINE": -1}).enable()
        except ImproperlyConfigured as error:
            html = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
        assert "number above zero" in html
        frames = html.partition("Request information")[0]
        assert "conf.py" in frames
        assert KEY not in frames.replace("/", "")

    def test_clear_text_is_warned_of(self) -> None:
        """A setting that leaves tokens in clear text warns."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with override_settings(MLSSOCIAL={"TABLE_NAME": "x", "ALLOW_PLAINTEXT_TOKENS": True}):
                pass
        assert mlssocial.PlaintextTokensWarning in {one.category for one in caught}


class Checks(MLSSocialTestMixin, SimpleTestCase):
    def found(self, *arguments: str, **options: Any) -> list[str]:
        """Give the ids of what the checks of this app find, as the check command runs them."""
        return [str(one.id) for one in self.messages(*arguments, **options)]

    def messages(self, **options: Any) -> list[Any]:
        return [one for one in checks.run_checks(**options) if str(one.id).startswith("mlssocial.")]

    def outside_of_tests(self) -> Any:
        """Let the checks see a process that runs no tests, as Django has it."""
        outbox = mail.outbox
        del mail.outbox
        return self.addCleanup(setattr, mail, "outbox", outbox)

    def test_plain_check_sends_nothing(self) -> None:
        """Check without --database, with --deploy too, sends no request."""
        self.outside_of_tests()
        with assert_requests(exactly=0):
            call_command("check", stdout=StringIO(), stderr=StringIO())
            call_command("check", deploy=True, stdout=StringIO(), stderr=StringIO())
            call_command("check", tags=["mlssocial"], stdout=StringIO(), stderr=StringIO())

    def test_no_table_is_named(self) -> None:
        """A site that names no table is warned."""
        assert self.found() == []
        with override_settings(MLSSOCIAL={"REGION": "us-west-2"}):
            assert self.found(databases=["default"]) == ["mlssocial.W001"]

    def test_before_a_deployment(self) -> None:
        """Check --deploy warns of what is fit for development alone."""
        assert self.found(include_deployment_checks=True) == ["mlssocial.W010"]
        with override_settings(MLSSOCIAL={"TABLE_NAME": "x", "ENDPOINT_URL": "http://localhost:8000"}):
            assert self.found(include_deployment_checks=True) == ["mlssocial.W011"]
        quiet = warnings.catch_warnings(action="ignore", category=mlssocial.PlaintextTokensWarning)
        with quiet, override_settings(MLSSOCIAL={"TABLE_NAME": "x", "ALLOW_PLAINTEXT_TOKENS": True}):
            assert self.found(include_deployment_checks=True) == ["mlssocial.W012"]
        with override_settings(MLSSOCIAL={"TABLE_NAME": "x", "ENDPOINT_URL": "https://example.com"}):
            assert self.found(include_deployment_checks=True) == []

    def test_the_live_table(self) -> None:
        """Check --database finds a table that differs, and fails; one that is as declared is fine, for two requests."""
        self.outside_of_tests()
        with assert_requests(exactly=2) as calls:
            assert self.found(databases=["default"]) == []
        assert [call.operation for call in calls] == ["DescribeTable", "DescribeTimeToLive"]
        with override_settings(MLSSOCIAL={**settings.MLSSOCIAL, "TABLE_NAME": "absent"}):
            (message,) = self.messages(databases=["default"])
            assert (message.id, message.msg) == ("mlssocial.E001", "absent does not exist; create_table() makes it")
            assert "mlssocial_init" in message.hint
            with self.assertRaisesMessage(SystemCheckError, "absent does not exist"):
                call_command("check", databases=["default"], stdout=StringIO(), stderr=StringIO())
            call_command("check", stdout=StringIO(), stderr=StringIO())

    def test_a_table_out_of_reach(self) -> None:
        """A table that cannot be reached is a warning, so that migrate does not depend on it."""
        self.outside_of_tests()
        away = {"TABLE_NAME": "x", "ENDPOINT_URL": "http://127.0.0.1:9", "REGION": "us-east-1", "DEADLINE": 0.2}
        with override_settings(MLSSOCIAL=away):
            assert self.found(databases=["default"]) == ["mlssocial.W002"]

    def test_a_test_runner_sends_nothing(self) -> None:
        """Under a test runner the site's own table is left alone, whatever databases it names."""
        with assert_requests(exactly=0), override_settings(MLSSOCIAL={"TABLE_NAME": "absent", "ENDPOINT_URL": "local:"}):
            assert self.found(databases=["default"]) == []


class Commands(MLSSocialTestMixin, SimpleTestCase):
    def test_the_command_line_under_the_sites_settings(self) -> None:
        """Arguments and options pass through, and the site's table is what is read."""
        Listing.objects.create("u1", "l1", listing(550000))
        found = json.loads(command("listings", "--user", "u1", "--json", "--limit", "1"))
        assert [one["listingId"] for one in found["items"]] == ["l1"]
        assert "l1" in command("--json", "show", "u1")

    def test_settings_and_pythonpath_are_djangos(self) -> None:
        """The options that Django reads off every command line are not the command's."""
        assert json.loads(command("status", "--settings", "x.y", "--json", "--pythonpath=."))["table"] == current().table_name

    def test_options_go_before_the_site(self) -> None:
        """--table goes before the site's, for that command alone, in the threads of its jobs too."""
        Listing.objects.create("u1", "l1", listing())
        before = current().table_name
        for name, count in (("elsewhere", 0), (before, 1)):
            status = json.loads(command("--table", name, "status", "--json", "--segments", "3"))
            assert (status["table"], sum(status["items"].values())) == (name, count)
        assert current().table_name == before

    def test_the_demo_leaves_the_site_alone(self) -> None:
        """The demo has a table of its own under a site too."""
        assert "932" in command("demo")
        assert list(mlssocial.Item.objects.query("agent-1")) == []
        assert mlssocial.table_status().items == {}

    def test_a_site_without_a_table_has_no_stand_in(self) -> None:
        """Without a table the command fails as the models do, and does not take a file of the user's."""
        with override_settings(MLSSOCIAL={}), self.assertRaisesMessage(CommandError, "no table is configured"):
            command("listings", "--user", "u1")

    def test_exit_codes(self) -> None:
        """An error, wrong usage and a finding end the command with its own exit code."""
        for code, arguments in ((1, ("show", "u1", "nonsense#")), (2, ("listings",)), (2, ("nonsense",))):
            with self.assertRaises(CommandError) as caught:
                command(*arguments)
            assert caught.exception.returncode == code, arguments
            with self.assertRaises(SystemExit) as ended, redirect_stderr(StringIO()) as errors:
                execute_from_command_line(["manage.py", "mlssocial", *arguments, f"--settings={settings.SETTINGS_MODULE}"])
            assert (ended.exception.code, errors.getvalue()) == (code, f"CommandError: {caught.exception}\n"), arguments
        store_raw_drift()
        with self.assertRaises(CommandError) as caught:
            command("audit")
        assert (caught.exception.returncode, str(caught.exception)) == (1, "mlssocial audit: exit code 1")

    def test_help(self) -> None:
        """--help, and Django's own help command, are the command line's."""
        out = StringIO()
        with redirect_stdout(out):
            execute_from_command_line(["manage.py", "help", "mlssocial"])
        for text in (out.getvalue(), command("--help")):
            assert "Usage: manage.py mlssocial" in text
            assert "iam-policy" in text

    def test_the_policy_is_of_the_sites_table(self) -> None:
        """A command that sends nothing has the site's settings too."""
        assert current().table_name in command("iam-policy", "--role", "app", "--region", "us-west-2", "--account", "1" * 12)

    def test_without_click(self) -> None:
        """Without click the command says which extra is missing."""
        absent = mock.patch("mlssocial.django.management.commands.mlssocial.find_spec", return_value=None)
        with absent, self.assertRaisesMessage(CommandError, "pip install 'mlssocial[cli]'"):
            command("status")

    def test_init(self) -> None:
        """mlssocial_init makes the table, does no harm where it stands, and fails where it is another."""
        out = StringIO()
        with override_settings(MLSSOCIAL={**settings.MLSSOCIAL, "TABLE_NAME": "new"}):
            for _ in range(2):
                call_command("mlssocial_init", stdout=out, no_color=True)
            call_command("mlssocial_init", stdout=out, verbosity=0)
            assert mlssocial.check_table() == []
        assert out.getvalue() == "new: made; all is well\nnew: it stands already; all is well\n"
        with override_settings(MLSSOCIAL={}), self.assertRaisesMessage(CommandError, "no table is configured"):
            call_command("mlssocial_init")
        make_other_table("other")
        other = override_settings(MLSSOCIAL={**settings.MLSSOCIAL, "TABLE_NAME": "other"})
        with other, self.assertRaisesMessage(CommandError, "other index GSI1 does not exist"):
            call_command("mlssocial_init", stdout=out)

    def test_shell(self) -> None:
        """The shell has the models at hand where Django imports any (5.2), and the site's own models as ever."""
        if django.VERSION < (5, 2):
            self.skipTest("Django imports nothing by itself before 5.2; manage.py mlssocial shell does")
        out = StringIO()
        with redirect_stdout(out):
            code = "print(Listing.__module__, repr(ALL_USERS), User.__module__, mlssocial.__name__, ListingStatus.ACTIVE.value)"
            call_command("shell", command=code, verbosity=0)
        assert out.getvalue() == "mlssocial.models ALL_USERS django.contrib.auth.models mlssocial active\n"


class Signals(MLSSocialTestMixin, SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard: list[tuple[str, Any, Any]] = []
        for signal, name in ((post_save, "saved"), (post_delete, "deleted")):
            self.connect(signal, lambda sender, instance, name=name, **_: self.heard.append((name, sender, instance)))

    def connect(self, signal: Any, receiver: Any, **how: Any) -> None:
        signal.connect(receiver, weak=False, **how)
        self.addCleanup(signal.disconnect, receiver, **how)

    def test_writes_are_sent(self) -> None:
        """Saves and deletes are sent, with the model as sender and the item as it is now."""
        made = Listing.objects.create("u1", "l1", listing(1))
        Listing.objects.update("u1", "l1", price=2)
        Listing.objects.delete("u1", "l1")
        assert [(name, sender) for name, sender, _ in self.heard] == [
            ("saved", Listing),
            ("saved", Listing),
            ("deleted", Listing),
        ]
        assert self.heard[0][2] is made
        assert [one.data and one.data.price for _, _, one in self.heard] == [1, 2, None]

    def test_a_receiver_of_one_model(self) -> None:
        """A receiver that names a sender hears of that model alone, and learns the operation."""
        operations: list[str] = []
        self.connect(post_save, lambda operation, **_: operations.append(operation), sender=SocialPost)
        Listing.objects.create("u1", "l1", listing())
        SocialPost.objects.save("u1", "p1", mlssocial.SocialPostData(status="published"))
        assert operations == ["save"]

    def test_only_what_was_written(self) -> None:
        """A write that is refused sends nothing."""
        with self.assertRaises(Listing.DoesNotExist):
            Listing.objects.update("u1", "l1", price=2)
        assert not Listing.objects.delete("u1", "l1")
        assert self.heard == []

    def test_a_receiver_that_fails(self) -> None:
        """A receiver's exception is logged and does not reach who wrote: the write stands."""

        def fails(**_: Any) -> None:
            raise ZeroDivisionError

        self.connect(post_save, fails)
        with self.assertLogs("django.dispatch", logging.ERROR):
            Listing.objects.create("u1", "l1", listing())
        assert Listing.objects.get("u1", "l1").data.price == 1


class Views(MLSSocialTestMixin, SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in range(5):
            Listing.objects.create("u1", f"l{number}", listing(number, description=f"house {number}"))

    def test_get_item_or_404(self) -> None:
        """An item comes from a model, its manager or a user's, and what is not there or no id is Http404."""
        for source, ids in ((Listing, ("u1", "l1")), (Listing.objects, ("u1", "l1")), (for_user("u1").listings, ("l1",))):
            assert get_item_or_404(source, *ids).data.price == 1
            assert get_item_or_404(source, *ids, consistent=True).data.price == 1
            for wrong in ("absent", "a#b", "", "x" * 3000):
                with self.assertRaises(Http404):
                    get_item_or_404(source, *ids[:-1], wrong)
        assert self.client.get("/users/u1/l3/").content == b"house 3"
        assert self.client.get("/users/u1/absent/").status_code == 404
        assert self.client.get("/users/u1/a%23b/").status_code == 404

    def test_other_errors_are_no_404(self) -> None:
        """An error of the store is not hidden as a missing page."""
        absent = override_settings(MLSSOCIAL={**settings.MLSSOCIAL, "TABLE_NAME": "absent"})
        with absent, self.assertRaises(mlssocial.StoreError):
            get_item_or_404(Listing, "u1", "l1")

    def test_pages(self) -> None:
        """A paginator gives every item once, in pages that say whether there are more, for one request each."""
        paginator, cursor = CursorPaginator(for_user("u1").listings.query(), 2), None
        seen: list[Listing] = []
        while True:
            with assert_requests(exactly=1, pattern=1):
                page = paginator.get_page(cursor)
            assert page.has_previous() == bool(seen)
            assert page.has_other_pages()
            seen += list(page)
            cursor = page.next_cursor
            if not page.has_next():
                break
            assert (len(page), page[0], page[:1]) == (2, page.object_list[0], page.object_list[:1])
        assert [one.listing_id for one in seen] == [f"l{number}" for number in range(5)]
        assert cursor is None
        assert not CursorPaginator(for_user("u1").listings.query(), 5).page("").has_other_pages()

    def test_a_cursor_that_is_of_no_use(self) -> None:
        """get_page() takes it for the first page, as Django's does; page() refuses it, and so it does another user's."""
        paginator = CursorPaginator(for_user("u1").listings.query(), 2)
        cursor = paginator.page().next_cursor
        for wrong in ("nonsense", f"{cursor}A", "1"):
            assert [one.listing_id for one in paginator.get_page(wrong)] == ["l0", "l1"]
            with self.assertRaises(mlssocial.InvalidCursorError):
                paginator.page(wrong)
        with self.assertRaises(mlssocial.InvalidCursorError):
            CursorPaginator(for_user("u2").listings.query(), 2).page(cursor)

    def test_a_list_view_over_http(self) -> None:
        """A ListView goes from page to page by the links in its template, and answers 404 to a wrong cursor."""
        url, seen = "/users/u1/", []
        while url:
            response = self.client.get(url)
            text = response.content.decode()
            seen.append(text.count("<li>"))
            assert ('<a href="?">first</a>' in text) == (len(seen) > 1)
            _, _, link = text.partition('<a href="?cursor=')
            url = f"/users/u1/?cursor={link.partition(chr(34))[0]}" if link else ""
        assert seen == [2, 2, 1]
        assert response.context["is_paginated"]
        assert self.client.get("/users/u1/?cursor=nonsense").status_code == 404
        assert not self.client.get("/users/nobody/").context["is_paginated"]

    def test_models_in_templates(self) -> None:
        """DoesNotExist is Django's way to ask, and a template shows an item's fields, and no token."""
        MLSConnection.objects.save("u1", "c1", MLSConnectionData(access_token="a secret"))
        with self.assertRaises(Listing.DoesNotExist):
            Listing.objects.get("u1", "absent")
        context = {"listing": Listing.objects.get("u1", "l2"), "connection": MLSConnection.objects.get("u1", "c1")}
        template = "{{ listing.user_id }} {{ listing.data.price }} {{ connection.data.access_token }} {{ connection.data }}"
        text = Template(template).render(Context(context))
        assert text.startswith("u1 2 **********")
        assert "a secret" not in text


class Staff(MLSSocialTestMixin, TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.staff = User.objects.create_user("ann", is_staff=True)
        self.other = User.objects.create_user("bob")

    def test_others_are_sent_to_the_login(self) -> None:
        """Who is not of the staff sees nothing of the application."""
        for user in (None, self.other):
            if user:
                self.client.force_login(user)
            response = self.client.get("/admin/echo/x?y=1")
            assert response.status_code == 302
            assert response["Location"] == "/admin/login/?next=/admin/echo/x%3Fy%3D1"

    def test_staff_see_the_application(self) -> None:
        """The application sees its own path below where it stands, and its status, headers and cookies come through."""
        self.client.force_login(self.staff)
        response = self.client.get("/admin/echo/users/é/?cursor=a%2Fb", secure=True)
        assert (response.status_code, response.reason_phrase) == (203, "Echoed")
        assert response.content.decode() == (
            "REQUEST_METHOD=GET\nSCRIPT_NAME=/admin/echo\nPATH_INFO=/users/é/\nQUERY_STRING=cursor=a%2Fb\nwsgi.url_scheme=https\n"
        )
        assert response["Content-Security-Policy"] == "default-src 'none'"
        assert (response["Content-Type"], response["Cache-Control"]) == ("text/plain", NEVER)
        assert (response.cookies["a"].value, response.cookies["b"]["httponly"]) == ("1", True)
        assert "PATH_INFO=/\n" in self.client.get("/admin/echo/").content.decode()
        assert self.client.head("/admin/echo/x").content == b""

    def test_browse(self) -> None:
        """The pages of mlssocial.browse stand beside the admin, with their links and policy, for staff alone, and no token."""
        Listing.objects.create("u1", "l1", listing(550000, mls_number="MLS-7"))
        MLSConnection.objects.save("u1", "c1", MLSConnectionData(access_token="a secret"))
        home = reverse("mlssocial-browse")
        assert self.client.get(home).status_code == 302
        self.client.force_login(self.staff)
        waiting, pages = [f"{home}listings?user=u1"], {}
        while waiting:
            url = waiting.pop()
            pages[url] = response = self.client.get(url)
            assert response.status_code == 200, url
            assert "default-src 'none'" in response["Content-Security-Policy"]
            links = map(html.unescape, re.findall(r'(?:href|src)="([^"]*)"', response.content.decode()))
            inside = {link.partition("#")[0] for link in links if not link.startswith(("#", "data:"))} - {""}
            assert [link for link in inside if not link.startswith(home)] == []
            waiting += inside - pages.keys() - set(waiting)
        seen = "".join(page.content.decode() for page in pages.values())
        assert f"{home}browse.css" in pages
        assert len(pages) > 5
        assert "MLS-7" in seen
        assert "550,000" in seen
        assert "a secret" not in seen

    def test_nothing_can_be_sent(self) -> None:
        """Methods that write do not get through."""
        self.client.force_login(self.staff)
        for method in ("post", "put", "patch", "delete"):
            assert getattr(self.client, method)("/admin/echo/").status_code == 405

    def test_under_asgi(self) -> None:
        """It works under ASGI too."""
        request = AsyncRequestFactory().get("/admin/echo/x?y=1")
        assert "wsgi.input" not in request.META
        request.user = self.staff
        response = resolve("/admin/echo/x").func(request, path="x")
        assert b"SCRIPT_NAME=/admin/echo\nPATH_INFO=/x\nQUERY_STRING=y=1" in response.content


NEVER = "max-age=0, no-cache, no-store, must-revalidate, private"


class FreshTable(MLSSocialTestMixin, SimpleTestCase):
    mlssocial_settings: ClassVar[dict[str, Any]] = {"DEADLINE": 4}

    def check(self) -> None:
        """Find an empty table in the embedded engine, with what the class sets, and leave an item in it."""
        assert current().table_name != "homes"
        assert (current().endpoint_url, current().deadline) == ("local:", 4)
        assert mlssocial.check_table() == []
        assert list(mlssocial.Item.objects.query("u1")) == []
        Listing.objects.create("u1", "l1", listing())

    def test_one(self) -> None:
        """A test has a table of its own."""
        self.check()

    def test_another(self) -> None:
        """And so has the next."""
        self.check()

    def test_keys_are_the_tests(self) -> None:
        """Tokens are sealed under a key of the test, not of the site."""
        assert current().token_keys["test"].reveal() != KEY
        MLSConnection.objects.save("u1", "c1", MLSConnectionData(access_token="a secret"))
        token = MLSConnection.objects.get("u1", "c1").data.access_token
        assert token is not None
        assert token.reveal() == "a secret"

    def test_the_sites_table_comes_back(self) -> None:
        """When a class has ended, the site's settings are in force again."""

        class Inner(MLSSocialTestMixin, SimpleTestCase):
            def test(self) -> None:
                pass

        mine, result = current().table_name, TestResult()
        TestSuite([Inner("test")]).run(result)
        assert (result.testsRun, result.wasSuccessful(), current().table_name) == (1, True, mine)


class HowTo(SimpleTestCase):
    def test_the_page_runs(self) -> None:
        """The examples of docs/how-to/django.md run, and do as the page says."""
        page = (Path(__file__).parents[2] / "docs/how-to/django.md").read_text()
        search = mock.Mock()
        names: dict[str, Any] = {"search": search}
        with mock.patch.dict(os.environ, {"TOKEN_KEY": KEY}):
            for block in re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
                exec(block, names)  # noqa: S102  our own page
        self.addCleanup(post_save.disconnect, names["reindex"], sender=Listing)
        result = TestResult()
        with override_settings(MLSSOCIAL=names["MLSSOCIAL"]):
            assert (current().table_name, current().region, current().sealing_key) == ("homes", "us-west-2", "k1")
            TestSuite([names["ListingTests"]("test_page")]).run(result)
        assert (result.testsRun, result.errors, result.failures) == (1, [], [])
        ((user_id, listing_id, data),) = [call.args for call in search.add.call_args_list]
        assert (user_id, listing_id, data.price) == ("u1", "l1", 550000)
        request = RequestFactory().get("/")
        request.user = mock.Mock(username="u1")
        with override_settings(MLSSOCIAL={**settings.MLSSOCIAL, "TABLE_NAME": "of-the-page"}):
            mlssocial.create_table()
            response = names["Listings"].as_view(template_name="listings.html")(request)
            assert not response.render().context_data["is_paginated"]
            with self.assertRaises(Http404):
                names["listing"](request, "absent")


@override_settings(MLSSOCIAL={"TABLE_NAME": "production", "REGION": "us-east-1"})
class UnderAnOverride(MLSSocialTestMixin, SimpleTestCase):
    def test_the_embedded_engine_all_the_same(self) -> None:
        """A class whose settings name a table of AWS's has its own table in the embedded engine."""
        assert (current().endpoint_url, current().region) == ("local:", "us-east-1")
        assert current().table_name != "production"
        assert ListingStatus.ACTIVE.value == Listing.objects.create("u1", "l1", listing()).data.status


def store_raw_drift() -> None:
    """Leave an item's index keys behind, as another application does."""
    from mlssocial.connection import store

    Listing.objects.create("u1", "l1", listing(mls_provider="flexmls", mls_number="7"))
    key = {"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#l1"}}
    request = {"TableName": current().table_name, "Key": key, "UpdateExpression": "REMOVE GSI1PK"}
    store().call("UpdateItem", request)


def make_other_table(name: str) -> None:
    """Make a table of that name with other keys than ours."""
    from mlssocial.connection import store

    attributes = [{"AttributeName": one, "AttributeType": "S"} for one in ("PK", "SK")]
    keys = [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}]
    how = {"KeySchema": keys, "AttributeDefinitions": attributes, "BillingMode": "PAY_PER_REQUEST"}
    store().call("CreateTable", {"TableName": name, **how})
