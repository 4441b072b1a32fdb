"""For a site's own tests: a fresh table for each of them."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.test import override_settings

import mlssocial
from mlssocial.connection import store
from mlssocial.settings import current


class MLSSocialTestMixin:
    """
    A fresh table of the embedded engine for every test: ``class ListingTests(MLSSocialTestMixin, SimpleTestCase)``.

    It stands before any of Django's test cases. From the class's start to its end the site's own table and keys are out of
    reach; tokens are sealed under a key that is made for the test. Fill the table in ``setUp()``, behind ``super().setUp()``:
    what ``setUpTestData()`` writes is in none of the tests' tables. Needs the extra ``[local]``.

    Attributes:
        mlssocial_settings: Further keys of ``MLSSOCIAL``, for this class.
    """

    mlssocial_settings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        """Put the site's own table out of reach."""
        cls._apart()
        super().setUpClass()  # type: ignore[misc]
        if not current().table_name.startswith(_PREFIX):  # an @override_settings of the class has come between
            cls._apart()

    def setUp(self) -> None:
        """Make the test's table."""
        super().setUp()  # type: ignore[misc]
        mlssocial.create_table()
        self.addCleanup(_drop)  # type: ignore[attr-defined]  # a test case's

    @classmethod
    def _apart(cls) -> None:
        """Go to an embedded engine for as long as the class lasts: one connection, which is dear to make, for all tests."""
        override = override_settings(
            MLSSOCIAL={
                **(getattr(settings, "MLSSOCIAL", None) or {}),
                "TABLE_NAME": f"{_PREFIX}{uuid.uuid4().hex}",
                "ENDPOINT_URL": "local:",
                "PROFILE": None,
                "TOKEN_KEYS": {"test": mlssocial.new_token_key()},
                "CURRENT_TOKEN_KEY": None,
                "KEY_PROVIDER": None,
                **cls.mlssocial_settings,
            }
        )
        override.enable()
        cls.addClassCleanup(override.disable)  # type: ignore[attr-defined]


_PREFIX = "mlssocial-test-"


def _drop() -> None:
    store().call("DeleteTable", {"TableName": store().table_name})
