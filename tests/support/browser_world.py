"""What the tests in a browser share: a small EVE and a daemon, and how to find things on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from killsyncd.simulator import SimulatorProcess
from tests.support import QUICK, DaemonProcess, Stage
from tests.support.chromium import Page

Open = Callable[..., Page]
"""The fixture open_page."""

SYNCING = "h1:text-is('Syncing')"
QUICK_EVE = {"cache": 1, "status_cache": 1}


def running(stage: Stage, **options: Any) -> tuple[SimulatorProcess, DaemonProcess]:
    """An EVE with two pilots, and a daemon that looks every two seconds."""
    eve = stage.eve(**{"pilots": 2, "history": 12, **QUICK_EVE, **options})
    return eve, stage.daemon(eve, QUICK)


def mail(killmail_id: object) -> str:
    return f".mails a[href='#/killmail/{killmail_id}']"


def until_all_rows(page: Page, condition: str) -> None:
    """Wait until there are mails in the list, and this JavaScript is true of each of them."""
    page.until(
        "((rows) => rows.length > 0 && rows.every((each) => " + condition + "))"
        "([...document.querySelectorAll('.mails > li[data-side]')])"
    )
