"""An agent's active listings, a listing with its posts, and publishing one: mlssocial in Flask."""

from __future__ import annotations

from uuid import uuid4

from flask import Flask, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

import mlssocial
from mlssocial import (
    InvalidItemError,
    ItemAlreadyExistsError,
    ListingStatus,
    Platform,
    PostStatus,
    SocialPostData,
    UserManagers,
    for_user,
)
from mlssocial.flask import MLSSocial
from mlssocial.reso import demo_page, import_feed

PLATFORMS = (Platform.FACEBOOK, Platform.INSTAGRAM, Platform.LINKEDIN, Platform.TWITTER)
PER_PAGE = 10


def create_app(**config: object) -> Flask:
    """Make the application: its table is in the file homes.db, unless FLASK_MLSSOCIAL_TABLE_NAME and its like say otherwise."""
    app = Flask(__name__)
    app.config["MLSSOCIAL_ENDPOINT_URL"] = "local:homes.db"
    app.config.from_prefixed_env()
    app.config.update(config)
    extension = MLSSocial(app)
    if extension.settings(app).is_local:
        with app.app_context():
            fill_a_new_table()
    app.before_request(refuse_other_sites)
    app.add_url_rule("/", view_func=listings)
    app.add_url_rule("/listings/<listing_id>", view_func=listing)
    app.add_url_rule("/listings/<listing_id>/posts", view_func=publish, methods=["POST"])
    return app


def fill_a_new_table() -> None:
    """Make the table, and give the agent the 932 listings that mlssocial ships, if there was none."""
    if mlssocial.create_table():
        import_feed(demo_page(), user_id=agent().user_id, provider="sacramento")


def agent() -> UserManagers:
    """Give the managers of whoever is signed in. Here that is always the same agent: your login goes here."""
    return for_user("agent-1")


def refuse_other_sites() -> None:
    """Let no form of another site write: https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        abort(403)


def listings() -> str:
    """Show a page of active listings, the newest first: one request to DynamoDB."""
    query = agent().listings.query_by_status(ListingStatus.ACTIVE, reverse=True)
    return render_template("listings.html", page=query.page(PER_PAGE, request.args.get("cursor")))


def listing(listing_id: str) -> str:
    """Show a listing and its posts; a listing that is not there is a 404 by itself."""
    found = agent().listings.get(listing_id)
    posts = agent().posts.query_by_listing(listing_id, reverse=True).page(PER_PAGE)
    return render_template("listing.html", listing=found, posts=posts, platforms=PLATFORMS, post_id=uuid4())


def publish(listing_id: str) -> Response:
    """
    Record that a listing was published; calling the platform is your application's part.

    The form brings the post's id: sent twice, it publishes once. mlssocial refuses a post of a listing that is off the market.
    """
    agent().listings.get(listing_id)
    platform, content = request.form.get("platform", ""), request.form.get("content", "").strip()
    if platform not in PLATFORMS or not content:
        abort(400, "A platform and a text are needed.")
    post = SocialPostData(listing_id=listing_id, platform=Platform(platform), content=content, status=PostStatus.PUBLISHED)
    try:
        agent().posts.create(request.form.get("post_id", ""), post)
    except ItemAlreadyExistsError:
        pass
    except InvalidItemError as error:
        abort(409, error.reason)
    return redirect(url_for("listing", listing_id=listing_id), 303)
