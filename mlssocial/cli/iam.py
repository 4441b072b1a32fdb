"""``mlssocial iam-policy``."""

from __future__ import annotations

import re

import click
from botocore.exceptions import BotoCoreError
from botocore.session import Session

import mlssocial
from mlssocial.iam import Role, policy

from .options import Command, Globals
from .output import print_json

_ACCOUNT = re.compile(r"\d{12}")
# An alias is no resource of a policy: https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
_KMS_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")


def _account(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:  # noqa: ARG001
    if value is not None and not _ACCOUNT.fullmatch(value):
        raise click.BadParameter("an account's id is twelve digits")
    return value


def _kms_key(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:  # noqa: ARG001
    if value is not None and not _KMS_KEY.fullmatch(value):
        raise click.BadParameter("a key's ARN is needed, arn:aws:kms:<region>:<account>:key/<id>; an alias is no resource")
    return value


@click.command("iam-policy", cls=Command)
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="Whom the policy is for.")
@click.option("--account", metavar="ID", callback=_account, help="The account of the table.")
@click.option("--partition", metavar="NAME", help="The AWS partition [by the region, else aws].")
@click.option("--kms-key", metavar="ARN", callback=_kms_key, help="The KMS key under which tokens are sealed.")
@click.option("--token-context", metavar="NAME", help="The setting token_context [mlssocial].")
@click.pass_obj
def iam_policy_command(
    options: Globals, role: str, account: str | None, partition: str | None, kms_key: str | None, token_context: str | None
) -> None:
    """
    Print the IAM policy of a role, with the least that it needs.

    app serves one user a session, whose id is the session's tag userId; worker works for all users, and migration reads the
    whole table besides. What is not known stands as <placeholder>. Nothing is sent.
    """
    settings = options.settings or mlssocial.Settings.from_env()
    table = _table_arn(options, settings, account, partition)
    context = token_context or settings.token_context
    print_json(policy(Role(role), table, kms_key=kms_key, token_context=context))


def _table_arn(options: Globals, settings: mlssocial.Settings, account: str | None, partition: str | None) -> str:
    region = options.region or settings.region or _region(options.profile or settings.profile)
    partition = partition or _partition(region)
    named = {"region": region, "account": account, "table": options.table or settings.table_name}
    for name, value in named.items():
        if not value:
            named[name] = f"<{name}>"
            click.echo(f"<{name}> is not known: give --{name}, or fill it in", err=True)
    return f"arn:{partition}:dynamodb:{named['region']}:{named['account']}:table/{named['table']}"


def _region(profile: str | None) -> str | None:
    """Give the region that AWS's own configuration names."""
    try:
        region: str | None = Session(profile=profile).get_config_variable("region")
    except BotoCoreError as error:
        raise mlssocial.ConfigurationError(str(error)) from error
    return region


def _partition(region: str | None) -> str:
    """Give the partition that a region is in."""
    try:
        return "aws" if region is None else str(Session().get_partition_for_region(region))
    except BotoCoreError as error:
        raise mlssocial.ConfigurationError(f"{error}; give --partition") from error
