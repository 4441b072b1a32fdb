"""System checks: of the configuration always, before a deployment with more severity, and of the live table on demand."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from django.core import mail
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's name

import mlssocial
from mlssocial.settings import current

TAG = "mlssocial"


@register(TAG)
def check_configuration(**_: Any) -> list[CheckMessage]:
    """Look for a table's name. Sends nothing."""
    if current().table_name:
        return []
    hint = 'MLSSOCIAL = {"TABLE_NAME": "homes"} in the settings, or MLSSOCIAL_TABLE_NAME in the environment'
    return [Warning("no table is configured: every call of a model fails", hint=hint, id="mlssocial.W001")]


@register(TAG, Tags.security, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """Look for what is fit for development alone. Sends nothing."""
    settings, found = current(), []
    if settings.is_local:
        found.append(_unfit("the table is in the embedded engine", "leave ENDPOINT_URL out for AWS", "W010"))
    elif urlsplit(settings.endpoint_url or "").scheme == "http":
        found.append(_unfit("the endpoint is reached without TLS", "name one that begins with https://", "W011"))
    if settings.allow_plaintext_tokens and settings.sealing_key is None:
        found.append(_unfit("tokens are written in clear text", "give TOKEN_KEYS; 'mlssocial token-key' makes one", "W012"))
    return found


@register(TAG, Tags.database)
def check_table(*, databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """
    Compare the live table with the declaration, under ``check --database default`` and ``migrate``: two requests.

    Not under a test runner, which names its databases too: the site's own table is none of its business.
    """
    if not databases or hasattr(mail, "outbox") or not current().table_name:
        return []
    try:
        differences = mlssocial.check_table()
    except mlssocial.MLSSocialError as error:
        return [Warning(f"the table could not be looked at: {error}", hint=_CREDENTIALS, id="mlssocial.W002")]
    return [Error(difference, hint=_INIT, id="mlssocial.E001") for difference in differences]


_INIT = "manage.py mlssocial_init makes the table, or switches TTL on; an index that is missing or other is changed by hand"
_CREDENTIALS = "the region, the credentials and the right to DescribeTable and DescribeTimeToLive are what it takes"


def _unfit(what: str, hint: str, number: str) -> CheckMessage:
    return Warning(what, hint=hint, id=f"mlssocial.{number}")
