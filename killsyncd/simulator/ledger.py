"""What clients did: counters, and the breaches of ESI's rules."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from .clock import SimClock

BREACHES_KEPT = 10_000

RULES = {
    "expires": "a list was asked for again before its Expires had passed",
    "budget": "more tokens were spent than the window holds (429)",
    "retry_after": "a request came during a Retry-After",
    "error_limited": "a request came while the error limit answered 420",
    "compatibility_date": "X-Compatibility-Date is missing or not the pinned one",
    "user_agent": "User-Agent is missing or names no way to reach the operator",
    "path": "a trailing slash, /latest or an old version in the path",
    "past_the_end": "a page past the last one was asked for",
    "authorization_sent": "a token was sent to a route that needs none",
    "names_batch": "/universe/names with duplicates, nothing, or more than 1000 ids",
    "refresh_token_reused": "a refresh token that had been replaced was used again",
    "concurrent_refresh": "two refreshes of one character at the same time",
    "code_reused": "an authorization code was used twice",
    "pkce_missing": "no PKCE S256 challenge, or no verifier",
    "pkce_wrong": "the verifier does not belong to the challenge",
    "state_missing": "a login without state",
    "third_party_agent": "a third party was asked without a way to reach the operator",
    "third_party_gzip": "a third party was asked for an answer that is not packed",
    "third_party_path": "a query, no trailing slash, or a page that does not exist at a third party",
    "third_party_pace": "a third party was asked more often than it asks for",
    "third_party_early": "a third party was asked again for what was to be kept, or waited for",
    "redirect_mismatch": "a redirect_uri that is not registered, or another one at the token endpoint",
}
"""Every rule that a breach can name."""


class RequestLedger:
    """Counters since the start, or since `reset`."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.inflight = 0
        self._recent: deque[float] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget everything that was counted, breaches too."""
        self.requests: Counter[tuple[str, int]] = Counter()
        self.details: Counter[int] = Counter()
        """Requests for each killmail, also those that were refused, or cut off."""
        self.details_ok: Counter[int] = Counter()
        """200s for each killmail: more than one is a refetch."""
        self.lists: Counter[int] = Counter()
        """List requests for each character or corporation."""
        self.refusals: Counter[str] = Counter()
        """403s for lists, by whose list it is and whose token: `subject/character`."""
        self.refreshes: Counter[int] = Counter()
        self.tokens_spent: Counter[str] = Counter()
        """Rate-limit tokens by group."""
        self.refetches = 0
        self.breaches: deque[dict[str, Any]] = deque(maxlen=BREACHES_KEPT)
        self.breach_count = 0
        self.concurrency_peak = self.inflight
        self.rate_peak = 0
        self.fault_hits = 0
        self.crashes: list[str] = []
        """Errors of the simulator itself: each is a bug in it."""

    def enter(self, now: float) -> None:
        """A request arrived (monotonic seconds)."""
        self.inflight += 1
        if self.inflight > self.concurrency_peak:
            self.concurrency_peak = self.inflight
        recent = self._recent
        recent.append(now)
        horizon = now - 1.0
        while recent[0] <= horizon:
            recent.popleft()
        if len(recent) > self.rate_peak:
            self.rate_peak = len(recent)

    def leave(self, route: str, status: int) -> None:
        """It was answered; status 0: the connection was cut instead."""
        self.inflight -= 1
        self.requests[route, status] += 1

    def breach(self, rule: str, route: str, subject: object = None, detail: str = "") -> None:
        """Write down a breach of `rule` (one of RULES) about `subject` (character, killmail, address...)."""
        self.breach_count += 1
        self.breaches.append(
            {
                "rule": rule,
                "route": route,
                "subject": subject,
                "detail": detail or RULES[rule],
                "time": self._clock.wall(),
            }
        )

    def snapshot(self) -> dict[str, Any]:
        """Everything but the breaches, as JSON."""
        by_route: dict[str, dict[str, int]] = {}
        for (route, status), count in sorted(self.requests.items()):
            by_route.setdefault(route, {})[str(status)] = count
        return {
            "requests": by_route,
            "total": sum(self.requests.values()),
            "details": {str(key): count for key, count in self.details.items()},
            "details_ok": len(self.details_ok),
            "detail_requests": sum(self.details.values()),
            "refetches": self.refetches,
            "lists": {str(key): count for key, count in self.lists.items()},
            "refusals": dict(self.refusals),
            "refreshes": {str(key): count for key, count in self.refreshes.items()},
            "tokens_spent": dict(self.tokens_spent),
            "concurrency": self.inflight,
            "concurrency_peak": self.concurrency_peak,
            "requests_per_second_peak": self.rate_peak,
            "fault_hits": self.fault_hits,
            "crashes": self.crashes[:20],
            "breaches": self.breach_count,
        }
