"""The routes we ask, and what ESI's specification says of them until their headers do.

Source: ESI's OpenAPI file of compatibility date 2026-08-18 (`x-rate-limit`, `x-cache-age`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from killsyncd.core.model import SourceKind
from killsyncd.esi.ratelimit.windows import RouteLimit

CHARACTER_LIST = "character-killmails"
CORPORATION_LIST = "corporation-killmails"
DETAIL = "killmail"
STATUS = "status"
NAMES = "names"
AFFILIATION = "affiliation"
PRICES = "prices"
CORPORATION = "corporation"

QUARTER = 900.0

ROUTES: Mapping[str, RouteLimit] = MappingProxyType(
    {
        each.route: each
        for each in (
            RouteLimit(CHARACTER_LIST, "char-killmail", 30, QUARTER, 300.0),
            RouteLimit(CORPORATION_LIST, "corp-killmail", 30, QUARTER, 300.0),
            RouteLimit(DETAIL, "killmail", 3600, QUARTER, 0.0),
            RouteLimit(STATUS, "status", 600, QUARTER, 30.0),
            RouteLimit(NAMES, None, 0, QUARTER, 0.0),
            RouteLimit(AFFILIATION, None, 0, QUARTER, 3600.0),
            RouteLimit(PRICES, None, 0, QUARTER, 3600.0),
            RouteLimit(CORPORATION, None, 0, QUARTER, 3600.0),
        )
    }
)

LISTS: Mapping[SourceKind, tuple[str, str]] = MappingProxyType(
    {
        SourceKind.CHARACTER: (CHARACTER_LIST, "/characters/{}/killmails/recent"),
        SourceKind.CORPORATION: (CORPORATION_LIST, "/corporations/{}/killmails/recent"),
    }
)
"""Kinds of sources that ESI has lists of: route and path."""

ERROR_GROUP = "error-limit"
"""Stands for the old error limit, kept like a bucket: one token an error."""

ERRORS_A_MINUTE = 20
"""Of the 100 errors a minute that ESI forgives (then every route is shut) we use no more."""

ERROR_WINDOW = 60.0

AFTER_EXPIRES = 1.0
"""HTTP dates have whole seconds: an answer may live up to one longer than its `Expires` says."""
