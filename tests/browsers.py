"""The browser that tests drive, if there is one."""

import importlib.util
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str | None:
    """The path of Chromium or Chrome; None where there is none, or where the package playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next(filter(None, map(shutil.which, NAMES)), None)
