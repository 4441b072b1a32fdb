"""Errors: what a caller can catch, and that they travel."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from mlssocial import (
    BatchIncompleteError,
    ConfigurationError,
    InvalidCursorError,
    InvalidItemError,
    InvalidKeyError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    Listing,
    MLSSocialError,
    OutcomeUnknownError,
    StaleItemError,
    StoreError,
    WrongEntityError,
)
from mlssocial.exceptions import FeedError, InvalidRecordError, SkippedRecordError, store_error

KEY = ("USER#u", "LISTING#l")
EXAMPLES: list[tuple[MLSSocialError, type[Exception]]] = [
    (ConfigurationError("x"), RuntimeError),
    (InvalidKeyError("user_id", "it is empty"), ValueError),
    (InvalidItemError("create Listing", KEY, "why", fields=("price",)), ValueError),
    (InvalidCursorError("x"), ValueError),
    (ItemNotFoundError("get Listing", KEY, "why"), LookupError),
    (Listing.DoesNotExist("get Listing", KEY, "why"), LookupError),
    (ItemAlreadyExistsError("create Listing", KEY, "why"), MLSSocialError),
    (StaleItemError("save Listing", KEY, "why"), MLSSocialError),
    (WrongEntityError("get Listing", KEY, found="Task"), MLSSocialError),
    (OutcomeUnknownError("update Listing", KEY, "why"), MLSSocialError),
    (BatchIncompleteError("x", [1]), MLSSocialError),
    (StoreError("x", code="Y", request_id="Z"), MLSSocialError),
    (InvalidRecordError("ListPrice", "not a number"), ValueError),
    (SkippedRecordError("Coming Soon"), FeedError),
]


class TestTree:
    @pytest.mark.parametrize(("error", "standard"), EXAMPLES, ids=lambda e: type(e).__name__)
    def test_standard_types(self, error: MLSSocialError, standard: type[Exception]) -> None:
        """Every error is an MLSSocialError, and the standard type that a caller would catch."""
        assert isinstance(error, MLSSocialError)
        assert isinstance(error, standard)

    @pytest.mark.parametrize("error", [e for e, _ in EXAMPLES], ids=lambda e: type(e).__name__)
    def test_pickle(self, error: MLSSocialError) -> None:
        """Errors cross processes with their message and attributes."""
        back = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
        assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))

    def test_message(self) -> None:
        """A message names operation, key and reason."""
        assert str(EXAMPLES[6][0]) == "create Listing USER#u / LISTING#l: why"


class TestTranslation:
    def test_codes_and_remedies(self) -> None:
        """DynamoDB's code, message and request id are kept, and a remedy is added where there is one."""
        answer: Any = {
            "Error": {"Code": "ResourceNotFoundException", "Message": "Requested resource not found"},
            "ResponseMetadata": {"RequestId": "R", "HTTPStatusCode": 400, "HTTPHeaders": {}},
        }
        error = store_error("GetItem on homes", ClientError(answer, "GetItem"))
        assert str(error).startswith("GetItem on homes: ResourceNotFoundException: Requested resource not found (the table")
        assert (error.code, error.request_id) == ("ResourceNotFoundException", "R")
        assert "endpoint_url='local:'" in str(store_error("x", NoCredentialsError()))
        assert store_error("x", ClientError({"Error": {"Code": "Odd"}}, "y")).code == "Odd"
