"""
IAM policies for the roles that use the table, each with the least that it needs: ``mlssocial iam-policy``.

A role is confined by ``dynamodb:LeadingKeys``: a request's partition keys, an index's own where an index is read. ForAllValues
is true of a request that has none, such as a Scan; the Null condition refuses it. Other applications' keys are out of reach of
every role, but for what a Scan shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from . import keys
from .entities import ListingStatus

# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html: all of them have LeadingKeys.
# The members of a transaction need what they need alone, and a check dynamodb:ConditionCheckItem:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
_ITEMS = (
    "BatchGetItem",
    "BatchWriteItem",
    "ConditionCheckItem",
    "DeleteItem",
    "GetItem",
    "PutItem",
    "Query",
    "UpdateItem",
)

USER_TAG = "userId"
"""The tag on the session of whoever takes the app role; its value is the user's id."""

# A tag that is not there is equal to nothing, and the statement allows nothing then:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-no-value
_CALLER = "${aws:PrincipalTag/" + USER_TAG + "}"

TOKEN_CONTEXT = "mlssocial:token_context"  # noqa: S105  a name
"""The key under which a token's data key has the setting token_context in its encryption context."""


class Role(StrEnum):
    """
    Whom a policy is for.

    ``app`` handles requests, each for one user. ``worker`` works for all users: queues, imports, status changes. ``migration``
    reads the whole table besides: it makes and checks the table, audits, migrates and exports.
    """

    APP = "app"
    WORKER = "worker"
    MIGRATION = "migration"


def policy(role: Role, table_arn: str, *, kms_key: str | None = None, token_context: str = "mlssocial") -> dict[str, Any]:  # noqa: S107
    """
    Make the policy document of a role.

    Args:
        role: Whose.
        table_arn: The table.
        kms_key: The ARN of the KMS key under which tokens are sealed, where there is one.
        token_context: The setting of that name.
    """
    statements = _app(table_arn) if role is Role.APP else _worker(table_arn)
    if role is Role.MIGRATION:
        statements += _whole_table(table_arn)
    if kms_key is not None:
        statements.append(_sealed_tokens(kms_key, token_context))
    return {"Version": "2012-10-17", "Statement": statements}


def _app(table: str) -> list[dict[str, Any]]:
    # The two are apart: a caller whose tag is another's index key must find no such key in the table's list, nor the reverse.
    by_status = [keys.status_partition(_CALLER, status) for status in ListingStatus]
    return [
        _keyed("OwnItems", _ITEMS, table, "StringEquals", [keys.user_partition(_CALLER)]),
        _keyed("OwnListingsByStatus", ["Query"], f"{table}/index/GSI2", "StringEquals", by_status),
    ]


def _worker(table: str) -> list[dict[str, Any]]:
    shared = [keys.mls_number_partition("*", "*"), keys.listing_partition("*")]
    by_status = [keys.status_partition("*", status) for status in ListingStatus]
    queues = [*keys.sync_partitions(), *keys.expiry_partitions(), *keys.unpublish_partitions()]
    return [
        _keyed("UsersItems", _ITEMS, table, "StringLike", [keys.user_partition("*")]),
        _keyed("NumbersAndPostsOfListings", ["Query"], f"{table}/index/GSI1", "StringLike", shared),
        _keyed("StatusesAndQueues", ["Query"], f"{table}/index/GSI2", "StringLike", [*by_status, *queues]),
    ]


def _whole_table(table: str) -> list[dict[str, Any]]:
    actions = ("CreateTable", "DescribeTable", "DescribeTimeToLive", "Scan", "UpdateTimeToLive")
    return [
        _allow("WholeTable", [f"dynamodb:{action}" for action in actions], table),
        _keyed("RecordOfMigrations", _ITEMS, table, "StringEquals", [keys.MIGRATIONS]),
    ]


def _sealed_tokens(kms_key: str, token_context: str) -> dict[str, Any]:
    # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-encryption-context
    literal = token_context.replace("${", "${$}{")  # it is no variable
    context = {"StringEquals": {f"kms:EncryptionContext:{TOKEN_CONTEXT}": literal}}
    return _allow("SealedTokens", ["kms:Decrypt", "kms:GenerateDataKey"], kms_key) | {"Condition": context}


def _keyed(sid: str, actions: Sequence[str], resource: str, operator: str, leading: Sequence[str]) -> dict[str, Any]:
    """Allow actions on these partition keys alone."""
    name = "dynamodb:LeadingKeys"
    condition = {f"ForAllValues:{operator}": {name: list(leading)}, "Null": {name: "false"}}
    return _allow(sid, [f"dynamodb:{action}" for action in actions], resource) | {"Condition": condition}


def _allow(sid: str, actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
