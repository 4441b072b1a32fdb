"""What is shown: public pages, each for one request to DynamoDB."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.generic import ListView

from mlssocial import Listing, ListingStatus, Results, for_user
from mlssocial.django.paginator import CursorPaginationMixin
from mlssocial.django.shortcuts import get_item_or_404


class ActiveListings(CursorPaginationMixin, ListView):
    """An agent's active listings, newest list date first, twenty a page."""

    template_name = "homes/listings.html"
    paginate_by = 20

    def get_queryset(self) -> Results[Listing]:
        """Ask for them; the request is sent for the page that is shown."""
        return for_user(self.kwargs["user_id"]).listings.query_by_status(ListingStatus.ACTIVE, reverse=True)


def listing(request: HttpRequest, user_id: str, listing_id: str) -> HttpResponse:
    """Show a listing; one that is off the market is not found."""
    found = get_item_or_404(for_user(user_id).listings, listing_id)
    if found.data.status != ListingStatus.ACTIVE:
        raise Http404(f"{listing_id} is {found.data.status}")
    return render(request, "homes/listing.html", {"listing": found})
