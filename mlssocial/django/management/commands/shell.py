"""``manage.py shell`` with mlssocial's models at hand, where Django imports models by itself: 5.2 and later."""

from __future__ import annotations

from django.core.management.commands import shell

NAMES = (
    *("mlssocial", "mlssocial.ALL_USERS", "mlssocial.for_user"),
    *("mlssocial.Listing", "mlssocial.MLSConnection", "mlssocial.SocialConnection", "mlssocial.SocialPost"),
    *("mlssocial.PerformanceMetrics", "mlssocial.ListingData", "mlssocial.MLSConnectionData"),
    *("mlssocial.SocialConnectionData", "mlssocial.SocialPostData", "mlssocial.PerformanceMetricsData"),
    *("mlssocial.ListingStatus", "mlssocial.Platform", "mlssocial.PostStatus"),
)
"""What is imported; a site whose own ``shell`` command goes before this one adds them to its own."""


class Command(shell.Command):
    """Django's shell."""

    def get_auto_imports(self) -> list[str]:
        """Name what is imported; a model of the site's that has the same name goes before ours."""
        return [*NAMES, *(super().get_auto_imports() or ())]
