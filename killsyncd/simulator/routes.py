"""Which ESI route a path is: name, rate-limit group, needed scope (from ESI's specification of
2026-08-18)."""

from __future__ import annotations

import re

from .answer import RoutedRequest
from .config import CORPORATION_SCOPE, KILLMAIL_SCOPE, ROLES_SCOPE

_OLD_BASE = re.compile(r"^/(latest|legacy|dev|v\d+)(/|$)")

_FIXED = {
    ("GET", "/status"): ("esi.status", "status"),
    ("GET", "/markets/prices"): ("esi.prices", None),
    ("POST", "/universe/names"): ("esi.names", None),
    ("POST", "/characters/affiliation"): ("esi.affiliation", None),
    ("GET", "/meta/status"): ("esi.meta_status", "meta"),
    ("GET", "/meta/compatibility-dates"): ("esi.compatibility_dates", "meta"),
}

# (parts, first part, third part) -> name, group, scope
_BY_ID = {
    ("characters", "killmails/recent"): ("esi.character_killmails", "char-killmail", KILLMAIL_SCOPE),
    ("corporations", "killmails/recent"): ("esi.corporation_killmails", "corp-killmail", CORPORATION_SCOPE),
    ("characters", "roles"): ("esi.roles", "char-detail", ROLES_SCOPE),
    ("characters", ""): ("esi.character", None, None),
    ("corporations", ""): ("esi.corporation", None, None),
    ("wars", "killmails"): ("esi.war_killmails", "killmail", None),
}
_UNIVERSE = {"types": "esi.type", "groups": "esi.group", "systems": "esi.system"}

UNKNOWN = "esi.unknown"


def esi_call(method: str, path: str) -> RoutedRequest:
    """The call that a method and path make; route `esi.unknown` when there is none."""
    fixed = _FIXED.get((method, path))
    if fixed is not None:
        return RoutedRequest(fixed[0], fixed[1])
    if method not in ("GET", "HEAD"):
        return RoutedRequest(UNKNOWN)
    parts = path.split("/")
    if len(parts) < 3 or not parts[2].isdecimal():
        if len(parts) == 4 and parts[1] == "universe" and parts[2] in _UNIVERSE and parts[3].isdecimal():
            return RoutedRequest(_UNIVERSE[parts[2]], subject=int(parts[3]))
        return RoutedRequest(UNKNOWN)
    if parts[1] == "killmails" and len(parts) == 4:
        return RoutedRequest("esi.killmail", "killmail", subject=int(parts[2]), extra=parts[3])
    known = _BY_ID.get((parts[1], "/".join(parts[3:])))
    if known is None or path.endswith("/"):
        return RoutedRequest(UNKNOWN)
    route, group, scope = known
    subject = int(parts[2])
    return RoutedRequest(
        route, group, scope, subject, character=subject if parts[1] == "characters" else None
    )


def breaks_path_rules(path: str) -> bool:
    """A trailing slash, or a base of the API before compatibility dates."""
    return (path.endswith("/") and path != "/") or _OLD_BASE.match(path) is not None
