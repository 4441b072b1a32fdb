"""The access patterns as one list: ``mlssocial patterns`` prints it, and the demo answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from .jsontext import dumps
from .options import Command, Globals


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """
    One access pattern.

    Attributes:
        number: Its number in docs/access-patterns.md; 0 for everything of a user.
        question: What is asked.
        method: What answers it.
        index: What is read: the table, or one of its indexes.
        key_condition: How it is read.
        example: The arguments that the demo asks it with; ``{listing}`` and ``{number}`` stand for one of its listings.
        contrast: Other arguments, to see that answer against.
    """

    number: int
    question: str
    method: str
    index: str
    key_condition: str
    example: str
    contrast: str | None = None

    @property
    def title(self) -> str:
        """The number as it is shown."""
        return str(self.number or "+")


PATTERNS = (
    Pattern(
        number=1,
        question="Which listings does a user have?",
        method="Listing.objects.query",
        index="table",
        key_condition="PK = USER#<user> AND SK begins_with LISTING#",
        example='"anna"',
    ),
    Pattern(
        number=2,
        question="Which listing has this MLS number?",
        method="Listing.objects.query_by_mls_number",
        index="GSI1",
        key_condition="GSI1PK = MLS#<provider>#<number>",
        example='"demo", "{number}", user_id="anna"',
        contrast='"demo", "{number}", user_id=ALL_USERS',
    ),
    Pattern(
        number=3,
        question="Which listings of a user are in this status, newest list date first?",
        method="Listing.objects.query_by_status",
        index="GSI2",
        key_condition="GSI2PK = USER#<user>#STATUS#<status>",
        example='"anna", "active", reverse=True',
        contrast='"anna", "pending"',
    ),
    Pattern(
        number=3,
        question="Which copies of an MLS number are in this status?",
        method="Listing.objects.query_by_mls_number",
        index="GSI1",
        key_condition="GSI1PK = MLS#<provider>#<number>",
        example='"demo", "{number}", user_id="anna", status="sold"',
        contrast='"demo", "{number}", user_id=ALL_USERS, status="active"',
    ),
    Pattern(
        number=4,
        question="Which posts does a listing have?",
        method="SocialPost.objects.query_by_listing",
        index="GSI1",
        key_condition="GSI1PK = LISTING#<listing> AND GSI1SK begins_with POST#",
        example='"{listing}", user_id="anna"',
        contrast='"{listing}", user_id=ALL_USERS',
    ),
    Pattern(
        number=5,
        question="How did a listing do in the last seven days?",
        method="PerformanceMetrics.objects.query",
        index="table",
        key_condition="PK = USER#<user> AND SK between METRICS#<listing>#<since> and METRICS#<listing>#<until>",
        example='"anna", "{listing}", since=datetime.now(UTC).date() - timedelta(days=6)',
        contrast='"anna", "{listing}"',
    ),
    Pattern(
        number=6,
        question="How is a user connected to this platform?",
        method="SocialConnection.objects.get",
        index="table",
        key_condition="PK = USER#<user> AND SK = SOCIAL#<PLATFORM>",
        example='"anna", "instagram"',
    ),
    Pattern(
        number=7,
        question="Which MLS connections does a user have?",
        method="MLSConnection.objects.query",
        index="table",
        key_condition="PK = USER#<user> AND SK begins_with MLS_CONNECTION#",
        example='"anna"',
    ),
    Pattern(
        number=8,
        question="Which MLS connections are due for a sync, longest ago first?",
        method="MLSConnection.objects.due_for_sync",
        index="GSI2",
        key_condition="GSI2PK in MLS_SYNC#0 … MLS_SYNC#7 AND GSI2SK between 0 and <time>",
        example="datetime.now(UTC) - timedelta(minutes=15), user_id=ALL_USERS",
    ),
    Pattern(
        number=9,
        question="Which social tokens expire within a week, soonest first?",
        method="SocialConnection.objects.expiring",
        index="GSI2",
        key_condition="GSI2PK in TOKEN_EXPIRY#0 … TOKEN_EXPIRY#7 AND GSI2SK between 0 and <time>",
        example="datetime.now(UTC) + timedelta(days=7), user_id=ALL_USERS",
    ),
    Pattern(
        number=10,
        question="Which posts wait to be unpublished, oldest request first?",
        method="SocialPost.objects.pending_unpublish",
        index="GSI2",
        key_condition="GSI2PK in UNPUBLISH#0 … UNPUBLISH#7",
        example="user_id=ALL_USERS",
    ),
    Pattern(
        number=0,
        question="What is there of a user, whatever it is?",
        method="Item.objects.query",
        index="table",
        key_condition="PK = USER#<user>",
        example='"anna"',
    ),
)


@click.command("patterns", cls=Command)
@click.pass_obj
def patterns_command(options: Globals) -> None:
    """List the access patterns, and what answers them."""
    if options.json:
        click.echo(dumps([_plain(pattern) for pattern in PATTERNS]))
        return
    for pattern in PATTERNS:
        click.echo(f"{pattern.title:>3}  {click.style(pattern.question, bold=True)}")
        click.echo(f"     {click.style(pattern.method, fg='cyan')}")
        click.echo(f"     {pattern.index}: {pattern.key_condition}")


def _plain(pattern: Pattern) -> dict[str, Any]:
    return {
        "number": pattern.number,
        "question": pattern.question,
        "method": pattern.method,
        "index": pattern.index,
        "keyCondition": pattern.key_condition,
    }
