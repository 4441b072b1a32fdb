"""``mlssocial show``."""

from __future__ import annotations

import click

from mlssocial import keys
from mlssocial.models import Item

from .connect import connect
from .items import ITEM_COLUMNS
from .options import Command, Globals
from .output import everything, show_item, show_pages


@click.command("show", cls=Command)
@click.argument("user")
@click.argument("key", required=False)
@click.pass_obj
def show_command(options: Globals, user: str, key: str | None) -> None:
    """
    Show everything of a user, or one item whole.

    KEY is an item's sort key, such as LISTING#l1, as the list of everything names it. Tokens are masked, and so is what other
    applications store beside them.
    """
    connect(options)
    if key is None:
        show_pages(options, [everything(Item.objects.query(user))], f"items of {user}", ITEM_COLUMNS)
    else:
        show_item(options, Item.get(keys.user_partition(user), key, consistent_read=True))
