"""ESI's budgets in the database: what is spent, by every daemon of one address.

The arithmetic is that of `esi.ratelimit.windows`; here is what must happen in one transaction.
Times are ESI's, in seconds since 1970, and come from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.ratelimit.windows import (
    FORGOTTEN_AFTER,
    MARGIN,
    Bucket,
    Observation,
    Reservation,
    ReservationRequest,
    ReservationResult,
    RouteLimit,
    Usage,
    decide,
    when_free,
    worst_price,
)
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Many, Run, Tx, one

NOT_OURS = -1.0
"""In `open_until`: somebody else's tokens. When they were spent, and so when they come back, is not known."""


def _look(ask: ReservationRequest, used: int) -> Tx[int]:
    """Grant one probe although the normal rule refuses. See ReservationRequest.look."""
    tokens = worst_price(ask.limit)
    if used + tokens > ask.limit:
        return 0
    where = {"grp": ask.bucket.group, "subject": ask.bucket.subject}
    ended = yield Run("budgets.ended", {**where, "after": ask.now, "by": ask.now})
    if not decide(ask, used - sum(int(each["tokens"]) for each in ended)):
        return 0
    row = one((yield Run("budgets.open", {**where, "at": ask.now})))
    return 0 if row is not None and int(row["n"]) else tokens


def settle(bills: Sequence[Reservation], observations: Sequence[Observation]) -> Tx[None]:
    """Write down what reservations really used, and what ESI says. A part for other transactions."""
    # Observations first: at their moment the reservations were still counted whole, and comparing
    # with the lower true price could take our own requests for somebody else's.
    for seen in observations:
        yield from _observe(seen)
    spent = [each for each in bills if each.tokens]
    unspent = [{"id": each.id} for each in bills if not each.tokens]
    if spent:
        yield Many(
            "budgets.bill",
            [
                {
                    "id": each.id,
                    "grp": each.bucket.group,
                    "subject": each.bucket.subject,
                    "tokens": each.tokens,
                    "returns_at": each.returns_at,
                }
                for each in spent
            ],
        )
    if unspent:
        yield Many("budgets.cancel", unspent)


def _observe(seen: Observation) -> Tx[None]:
    """Compare with ESI's own count: write down what we did not know of, and correct what nobody settled."""
    where = {"grp": seen.bucket.group, "subject": seen.bucket.subject}
    # From a little earlier on: a server that returns tokens late must not look like another client.
    known = {**where, "after": seen.known_after, "by": seen.earliest}
    row = one((yield Run("budgets.known", known)))
    assert row is not None, "a sum is always one row"
    foreign = seen.foreign(int(row["tokens"]))
    if foreign:
        returns_at = seen.latest + seen.window + MARGIN
        spend = {**where, "tokens": foreign, "returns_at": returns_at, "open_until": NOT_OURS}
        yield Run("budgets.spend", spend)
    if row["ended"]:
        yield from _correct(seen)


def _correct(seen: Observation) -> Tx[None]:
    """Reservations that nobody settled and whose requests have ended: no more of them than ESI counts.

    ESI counts them together with what is settled. Of that only what ESI certainly still counts is subtracted;
    what remains is left to the reservations that return last.
    """
    where = {"grp": seen.bucket.group, "subject": seen.bucket.subject}
    ended = yield Run("budgets.ended", {**where, "after": seen.known_after, "by": seen.earliest})
    between = {"after": seen.counted_after, "by": seen.charged_by}
    row = one((yield Run("budgets.certain", {**where, **between})))
    left = max(0, seen.used - (int(row["tokens"]) if row is not None else 0))
    for each in ended:
        tokens = min(int(each["tokens"]), left)
        left -= tokens
        if not tokens:
            yield Run("budgets.cancel", {"id": each["id"]})
        elif tokens < int(each["tokens"]):
            yield Run("budgets.lower", {"id": each["id"], "tokens": tokens})


class BudgetRepository(Repository):
    """What is spent of ESI's budgets; see `esi.ratelimit.ports.BudgetStore`."""

    @writes
    def reserve(self, ask: ReservationRequest, alongside: Alongside | None = None) -> Tx[ReservationResult]:
        where = {"grp": ask.bucket.group, "subject": ask.bucket.subject}
        row = one((yield Run("budgets.lock", where)))
        if row is None:
            yield Run("budgets.bucket", where)
            row = one((yield Run("budgets.lock", where)))
        shut_until = float(row["blocked_until"]) if row is not None else 0.0
        yield from settle(ask.bills, ask.observations)
        if ask.forget:
            yield Run("budgets.purge", {"before": ask.now - FORGOTTEN_AFTER})
        after = {**where, "after": ask.now}
        every, gate = (*ask.gates, "", "")[:2]
        standing = one((yield Run("budgets.standing", {**after, "every": every, "gate": gate})))
        assert standing is not None, "a row of sums is always one"
        shut_until = max(shut_until, float(standing["shut_until"] or 0.0))
        if shut_until > ask.now:
            return ReservationResult(0, 0, shut_until, 0)
        if standing["token_limit"] is not None and (
            int(standing["token_limit"]) < ask.limit or float(standing["window_seconds"]) > ask.window
        ):
            # Another daemon may have read a newer limit than ours.
            limit = min(ask.limit, int(standing["token_limit"]))
            ask = replace(ask, limit=limit, window=max(ask.window, float(standing["window_seconds"])))
        used = int(standing["tokens"])
        tokens = decide(ask, used)
        if not tokens and ask.look:
            tokens = yield from _look(ask, used)
        if not tokens:
            spends = yield Run("budgets.spends", after)
            next_at = when_free(ask, [(float(each["returns_at"]), int(each["tokens"])) for each in spends])
            return ReservationResult(0, 0, next_at, used)
        returns_at = ask.spent_at + ask.held_for + ask.window + MARGIN
        open_until = ask.spent_at + ask.held_for
        spend = {**where, "tokens": tokens, "returns_at": returns_at, "open_until": open_until}
        row = one((yield Run("budgets.spend", spend)))
        assert row is not None, "INSERT ... RETURNING answers its row"
        if alongside is not None:
            yield from alongside(ask.spent_at)
        return ReservationResult(int(row["id"]), tokens, ask.now, used + tokens, ask.spent_at)

    @writes
    def settle(self, bills: Sequence[Reservation], observations: Sequence[Observation]) -> Tx[None]:
        return (yield from settle(bills, observations))

    @writes
    def block(self, bucket: Bucket, until: float) -> Tx[None]:
        yield Run("budgets.block", {"grp": bucket.group, "subject": bucket.subject, "until": until})

    @writes
    def shut(self, gate: str, until: float) -> Tx[None]:
        yield Run("budgets.shut", {"name": gate, "until": until})

    @writes
    def stamp(self, name: str, at: float) -> Tx[None]:
        yield Run("budgets.stamp", {"name": name, "at": at})

    @reads
    def gates(self) -> Tx[Mapping[str, float]]:
        return {str(row["name"]): float(row["value"]) for row in (yield Run("budgets.gates", {}))}

    @reads
    def routes(self) -> Tx[Sequence[RouteLimit]]:
        return [
            RouteLimit(
                str(row["route"]),
                None if row["grp"] is None else str(row["grp"]),
                int(row["token_limit"]),
                float(row["window_seconds"]),
                float(row["ttl_seconds"]),
            )
            for row in (yield Run("budgets.routes", {}))
        ]

    @writes
    def learn(self, limit: RouteLimit, window_before: float) -> Tx[None]:
        if limit.group is not None:
            row = one((yield Run("budgets.window_before", {"grp": limit.group})))
            if row is not None and row["window_seconds"] is not None:
                window_before = float(row["window_seconds"])  # another daemon may have learnt it first
            if limit.window > window_before:
                longer = {"grp": limit.group, "seconds": limit.window - window_before}
                yield Run("budgets.longer_window", longer)
        yield Run(
            "budgets.learn",
            {
                "route": limit.route,
                "grp": limit.group,
                "token_limit": limit.tokens,
                "window_seconds": limit.window,
                "ttl_seconds": limit.ttl,
            },
        )

    @reads
    def usage(self, now: float) -> Tx[Sequence[Usage]]:
        spends: dict[Bucket, list[tuple[float, int]]] = {}
        for row in (yield Run("budgets.all_spends", {"after": now})):
            bucket = Bucket(str(row["grp"]), str(row["subject"]))
            spends.setdefault(bucket, []).append((float(row["returns_at"]), int(row["tokens"])))
        blocked: dict[Bucket, float] = {}
        for row in (yield Run("budgets.blocked", {"after": now})):
            blocked[Bucket(str(row["grp"]), str(row["subject"]))] = float(row["blocked_until"])
        return [
            Usage(bucket, tuple(spends.get(bucket, ())), blocked.get(bucket, 0.0))
            for bucket in {**spends, **blocked}
        ]

    @writes
    def tidy(self, now: float) -> Tx[None]:
        """Forget buckets of characters that are no longer asked for; once in a while."""
        yield Run("budgets.purge", {"before": now - FORGOTTEN_AFTER})
        yield Run("budgets.buckets_unused", {"before": now})
        yield Run("budgets.lists_open", {"before": now})
