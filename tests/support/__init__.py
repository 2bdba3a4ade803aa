"""A real daemon in a process of its own, and a pilot's browser: for acceptance tests and the bench."""

from tests.support.daemon import DaemonProcess, free_port, wait_for
from tests.support.login_browser import LoginFailed, log_in
from tests.support.stage import QUICK, Stage, pilots_of

__all__ = [
    "QUICK",
    "DaemonProcess",
    "LoginFailed",
    "Stage",
    "free_port",
    "log_in",
    "pilots_of",
    "wait_for",
]
