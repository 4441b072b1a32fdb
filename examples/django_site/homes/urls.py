"""Two pages: an agent's active listings, and one of them."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("agents/<slug:user_id>/", views.ActiveListings.as_view(), name="listings"),
    path("agents/<slug:user_id>/<listing_id>/", views.listing, name="listing"),
]
