"""An agent's active listings, a listing with its posts, and publishing one: mlssocial in FastAPI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

import mlssocial
from mlssocial import InvalidItemError, ListingData, ListingStatus, Platform, PostStatus, SocialPostData, UserManagers
from mlssocial.fastapi import PROBLEMS, MLSSocial, lifespan, managers
from mlssocial.reso import demo_page, import_feed
from mlssocial.settings import current

AGENTS = {"demo": "agent-1"}
"""Who bears which token. Your sign-in goes into signed_in()."""


@asynccontextmanager
async def with_a_table(app: FastAPI) -> AsyncIterator[None]:
    """Make the table in the embedded engine, and fill a new one, before the first request."""
    async with lifespan(app):
        await run_in_threadpool(fill_a_new_table)
        yield


def fill_a_new_table() -> None:
    """Make the table, and give the agent the 932 listings that mlssocial ships, if there was none."""
    if current().is_local and mlssocial.create_table():
        import_feed(demo_page(), user_id="agent-1", provider="sacramento")


app = FastAPI(title="Listings", lifespan=with_a_table, responses=PROBLEMS)
if current().table_name:  # MLSSOCIAL_TABLE_NAME is set
    MLSSocial(app)
else:
    MLSSocial(app, endpoint_url="local:homes.db")


def signed_in(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """Say who sends a request."""
    if bearer.credentials not in AGENTS:
        raise HTTPException(401, "Nobody has this token.", {"WWW-Authenticate": "Bearer"})
    return AGENTS[bearer.credentials]


Agent = Annotated[UserManagers, Depends(managers(signed_in))]


class Shown(BaseModel):
    """Is made of an item as it is read."""

    model_config = ConfigDict(from_attributes=True)


class ListingOut(Shown):
    """A listing."""

    listing_id: str
    updated_at: datetime
    data: ListingData


class PostOut(Shown):
    """A post."""

    post_id: str
    data: SocialPostData


class ListingPage(Shown):
    """Some listings, and where to go on; no cursor at the end."""

    items: list[ListingOut]
    cursor: str | None


class ListingWithPosts(Shown):
    """A listing and its latest posts."""

    listing: ListingOut
    posts: list[PostOut]


class NewPost(BaseModel):
    """What is to be published."""

    platform: Platform
    content: Annotated[str, Field(min_length=1)]


@app.get("/listings", response_model=ListingPage, response_model_exclude_unset=True)
def listings(agent: Agent, limit: Annotated[int, Query(ge=1, le=100)] = 10, cursor: str | None = None) -> Any:
    """Give a page of active listings, the newest first: one request to DynamoDB."""
    return agent.listings.query_by_status(ListingStatus.ACTIVE, reverse=True).page(limit, cursor)


@app.get("/listings/{listing_id}", response_model=ListingWithPosts, response_model_exclude_unset=True)
def listing(listing_id: str, agent: Agent) -> Any:
    """Give a listing and its posts; a listing that is not there is a 404 by itself."""
    posts = agent.posts.query_by_listing(listing_id, reverse=True).page(10)
    return {"listing": agent.listings.get(listing_id), "posts": posts.items}


@app.put("/listings/{listing_id}/posts/{post_id}", status_code=201, response_model=PostOut, response_model_exclude_unset=True)
def publish(listing_id: str, post_id: UUID, new: NewPost, agent: Agent) -> Any:
    """
    Record that a listing was published; calling the platform is your application's part.

    The client makes the post's id: sent twice, the second is a 409, and it is published once. mlssocial refuses a post of a
    listing that is off the market.
    """
    agent.listings.get(listing_id)
    post = SocialPostData(listing_id=listing_id, platform=new.platform, content=new.content, status=PostStatus.PUBLISHED)
    try:
        return agent.posts.create(str(post_id), post)
    except InvalidItemError as error:
        raise HTTPException(409, error.reason) from None
