"""ESI's front door: who may ask what, how often, and what breaks the rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .answer import Response, RoutedRequest, error
from .clock import SimClock
from .config import SimulatorConfig
from .ledger import RequestLedger
from .limits import BOTTOMLESS, GROUPS, ErrorLimit, Window, cost, window_text
from .routes import breaks_path_rules
from .tokens import Keys, TokenError
from .world import World

_CONTACT = re.compile(r"\S+/\S+.*(\S+@\S+\.\S+|https?://\S+)")
_FREE = frozenset({"esi.unknown"})


class Gate:
    """Everything between the wire and ESI's routes."""

    def __init__(
        self, config: SimulatorConfig, clock: SimClock, world: World, keys: Keys, ledger: RequestLedger
    ) -> None:
        self._config = config
        self._clock = clock
        self._world = world
        self._keys = keys
        self._ledger = ledger
        self._limits = {**GROUPS, **config.group_limits}
        self._windows: dict[tuple[str, str], Window] = {}
        self._errors: dict[str, ErrorLimit] = {}
        self._told: dict[tuple[str, str, int, int], float] = {}
        self._reachable: set[str] = set()
        self._bottomless = {
            group: {
                "X-Ratelimit-Group": group,
                "X-Ratelimit-Limit": f"{BOTTOMLESS}/15m",
                "X-Ratelimit-Remaining": str(BOTTOMLESS),
                "X-Ratelimit-Used": "0",
            }
            for group in GROUPS
        }

    # Manners

    def look_at(self, call: RoutedRequest, path: str, headers: Mapping[str, str]) -> None:
        """Write down what is wrong with the request itself."""
        breach, route = self._ledger.breach, call.route
        if headers.get("X-Compatibility-Date") != self._config.compatibility_date:
            breach("compatibility_date", route, headers.get("X-Compatibility-Date"))
        agent = headers.get("User-Agent", "")
        if agent not in self._reachable:
            if _CONTACT.search(agent):
                self._reachable.add(agent)
            else:
                breach("user_agent", route, agent)
        if call.scope is None and route not in _FREE and "Authorization" in headers:
            breach("authorization_sent", route, call.subject)
        if breaks_path_rules(path):
            breach("path", route, path)

    # Tokens of pilots

    def authenticate(
        self, call: RoutedRequest, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any] | None, Response | None]:
        """The claims of the token, as far as they can be trusted, and the refusal, if it is to be refused."""
        if call.scope is None:
            return None, None
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None, error(401, "Unauthorized - no token")
        try:
            claims = self._keys.verify(token)
        except TokenError as problem:
            return None, error(401, f"Unauthorized - {problem}")
        if claims["exp"] <= self._clock.wall():
            return claims, error(401, "Unauthorized - token is expired")
        character = int(claims["sub"].rpartition(":")[2])
        call.character = character
        pilot = self._world.pilots.get(character)
        scopes = claims.get("scp", [])
        scopes = [scopes] if isinstance(scopes, str) else scopes
        if pilot is None or call.scope not in scopes or call.scope in pilot.lost_scopes:
            return claims, error(403, f"Forbidden - token is not valid for scope {call.scope}")
        if call.route == "esi.corporation_killmails":
            if pilot.corporation_id != call.subject:
                return claims, error(403, "Character is not in the corporation")
            if not pilot.director:
                return claims, error(403, "Character does not have required role(s)")
        elif character != call.subject:
            return claims, error(403, "Forbidden - the token is another character's")
        return claims, None

    # Budgets

    def window(self, group: str, user: str) -> Window:
        """The floating window of (group, user)."""
        key = (group, user)
        if key not in self._windows:
            self._windows[key] = Window(self._limits[group], self._config.window)
        return self._windows[key]

    def set_limit(self, group: str, tokens: int) -> None:
        """Another size for a group's windows, from now on."""
        self._limits[group] = tokens
        for (known, _), window in self._windows.items():
            if known == group:
                window.limit = tokens

    def errors_of(self, address: str) -> ErrorLimit:
        if address not in self._errors:
            self._errors[address] = ErrorLimit(self._config.error_limit, self._config.error_window)
        return self._errors[address]

    def blocked(self, call: RoutedRequest, address: str) -> Response | None:
        """420, while the address has used up its errors."""
        limit = self._errors.get(address)
        now = self._clock.monotonic()
        if limit is None or not limit.blocked(now):
            return None
        if now > limit.told + self._config.inflight_grace:
            self._ledger.breach("error_limited", call.route, address)
        refused = error(420, "This software has exceeded the error limit for ESI.")
        refused.headers.update(limit.headers(now))
        return refused

    def admit(self, call: RoutedRequest, user: str) -> Response | None:
        """429, when the window holds no token; else the request is under way until `settle`."""
        assert call.group is not None
        now = self._clock.monotonic()
        window = self.window(call.group, user)
        if now < window.until and now > window.told + self._config.inflight_grace:
            self._ledger.breach("retry_after", call.route, user, f"{window.until - now:.1f} s too early")
        if window.admit(now):
            return None
        wait = window.retry_after(now)
        self._ledger.breach("budget", call.route, user, f"{call.group}: {window.used} of {window.limit} used")
        self.retry_after(call, user, wait)
        refused = error(429, "Too many requests", Retry_After=str(wait))
        refused.headers.update(self._headers(call.group, window, 0))
        return refused

    def retry_after(self, call: RoutedRequest, user: str, seconds: float) -> None:
        """Somebody was told to wait."""
        if call.group is not None:
            window, now = self.window(call.group, user), self._clock.monotonic()
            if now >= window.until:
                window.told = now
            window.until = max(window.until, now + seconds)

    def settle(self, call: RoutedRequest, user: str, address: str, status: int) -> Mapping[str, str]:
        """Charge an answer of that status (0: none was given); returns the limit headers that go with it."""
        now = self._clock.monotonic()
        if call.group is None:
            errors = self.errors_of(address)
            if self._config.limits:
                errors.count(now, status)
            return errors.headers(now)
        price = cost(status) if status else 0
        self._ledger.tokens_spent[call.group] += price
        if not self._config.limits:
            return self._bottomless[call.group]
        window = self.window(call.group, user)
        window.charge(now, price)
        return self._headers(call.group, window, price)

    def _headers(self, group: str, window: Window, price: int) -> dict[str, str]:
        return {
            "X-Ratelimit-Group": group,
            "X-Ratelimit-Limit": f"{window.limit}/{window_text(window.length)}",
            "X-Ratelimit-Remaining": str(window.remaining()),
            "X-Ratelimit-Used": str(price),
        }

    # Expires

    def too_early(self, call: RoutedRequest, user: str) -> None:
        """Write down when somebody asks for a list before it may be asked for again."""
        ends = self._told.get((_asking(call, user), call.route, call.subject, call.page))
        now = self._clock.monotonic()
        if ends is not None and now < ends - self._config.expires_grace:
            self._ledger.breach(
                "expires", call.route, call.subject, f"page {call.page}: {ends - now:.2f} s too early"
            )

    def tell(self, call: RoutedRequest, user: str, until: float) -> None:
        """Somebody was told until when a list holds."""
        self._told[_asking(call, user), call.route, call.subject, call.page] = until


def _asking(call: RoutedRequest, user: str) -> str:
    """Who was told until when a list holds. A corporation's is one list, whichever Director asks."""
    return "" if call.route == "esi.corporation_killmails" else user
