"""
Make the pictures of ``mlssocial browse`` in docs/images, out of the demo's data: ``make screenshots``.

Chromium is Debian's package ``chromium``, or what CHROMIUM names.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from mlssocial.browse import create_app
from mlssocial.browse.serving import listen
from mlssocial.cli.demo import fresh_table
from mlssocial.cli.demo_data import LISTING, fill

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MOST_BYTES = 200_000


class Shot(NamedTuple):
    """A picture: its name, the page, how wide and high the window is, and dark or light."""

    name: str
    page: str
    width: int
    height: int
    dark: bool = False


SHOTS = (
    Shot("browse-listings", "listings?user=anna&status=active", 1280, 900),
    Shot("browse-listing", f"listing?user=anna&id={LISTING}", 1280, 1640),
    Shot("browse-listing-dark", f"listing?user=anna&id={LISTING}", 1280, 1640, dark=True),
    Shot("browse-connections", "connections?user=anna", 1280, 800),
    Shot("browse-queues", "queues", 1280, 1150),
    Shot("browse-listings-phone", "listings?user=anna", 390, 844),
    Shot("browse-listing-phone-dark", f"listing?user=anna&id={LISTING}#figures", 390, 844, dark=True),
)


@contextmanager
def served() -> Iterator[str]:
    """Serve the demo's data, and give the address."""
    token = secrets.token_urlsafe(32)
    with fresh_table(None):
        fill()
        with listen(create_app(access_token=token), "127.0.0.1", 0) as server:
            thread = Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield server.address(token)
            server.server.shutdown()
            thread.join()


def take(browser: Browser, address: str, shot: Shot) -> Path:
    """Take a picture."""
    size = {"width": shot.width, "height": shot.height}
    scheme = "dark" if shot.dark else "light"
    phone = shot.width < 500
    context = browser.new_context(
        viewport=size, color_scheme=scheme, device_scale_factor=2 if phone else 1, is_mobile=phone, has_touch=phone
    )
    page = context.new_page()
    page.goto(address)
    answer = page.goto(address.partition("?")[0] + shot.page)
    if answer is None or not answer.ok:
        sys.exit(f"{shot.page}: {answer and answer.status}")
    path = IMAGES / f"{shot.name}.png"
    page.screenshot(path=path)
    context.close()
    return path


def shrink(path: Path) -> None:
    """Keep the picture's 256 most frequent colours exactly, and take the nearest for the others: the edges of letters."""
    picture = Image.open(path).convert("RGB")
    frequent = sorted(picture.getcolors(picture.width * picture.height) or (), reverse=True)[:256]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in frequent for part in colour])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Make all pictures."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not there; install Debian's package of that name, or say where it is in CHROMIUM")
    IMAGES.mkdir(exist_ok=True)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=root)
        for shot in SHOTS:
            path = take(browser, address, shot)
            shrink(path)
            print(f"{path}: {path.stat().st_size:,} bytes")  # noqa: T201
            if path.stat().st_size > MOST_BYTES:
                sys.exit(f"{path} is larger than {MOST_BYTES:,} bytes")
        browser.close()


if __name__ == "__main__":
    main()
