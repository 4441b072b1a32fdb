"""
The pages of :mod:`mlssocial.browse` for staff: ``path("admin/listings/", include("mlssocial.django.browse"))``.

They show every user's items. It stands before the admin's own ``path("admin/", ...)``, which would take its URL; and
``{% url "mlssocial-browse" %}`` leads there. Needs the extra ``[browse]``.
"""

from __future__ import annotations

from django.urls import path, re_path

from mlssocial.browse import create_app

from .wsgi import StaffWSGIView

# Django says who is let in, and its ALLOWED_HOSTS by which names.
_view = StaffWSGIView.as_view(application=create_app(access_token=None, hosts=None))

urlpatterns = [
    path("", _view, {"path": ""}, name="mlssocial-browse"),
    re_path(r"^(?P<path>.+)$", _view),
]
