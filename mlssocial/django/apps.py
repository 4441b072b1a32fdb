"""The app: it puts the setting in force when Django starts."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.signals import setting_changed

from mlssocial import on_write

from . import conf, signals


class MLSSocialConfig(AppConfig):
    """``mlssocial.django`` among the installed apps."""

    name = "mlssocial.django"
    label = "mlssocial"
    verbose_name = "MLS listings and social posts"

    def ready(self) -> None:
        """Put ``settings.MLSSOCIAL`` in force, and register checks and signals."""
        from . import checks  # noqa: F401  importing it registers them

        conf.configure()
        setting_changed.connect(conf.follow)
        on_write(signals.send)
