"""How far each webhook is in the feed, what became of what it sent, and what its filter asks of mails.

One daemon delivers: it holds the row, and says so every two seconds. Before a request leaves, the row says
which mail it is for (`begin`); what came of it and the new place in the feed are one transaction
(`settle`). So a crash leaves either nothing, or one mail of which it is known that it may have arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from killsyncd.core.clock import utc
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Ids, Row, Run, Store, Tx, one
from killsyncd.webhooks.model import (
    Delivery,
    PaceWindow,
    SetAside,
    WebhookState,
)

MARGIN = 0.02
"""Seconds that are waited beyond a window's end: two clocks round."""

KEPT_REQUESTS = 600.0
"""Seconds for which requests are remembered, far beyond any window."""


KEPT_DELIVERIES = 90 * 86_400.0
"""Seconds for which it is known what became of a mail; the cursor knows by itself what is settled."""


class WebhookRepository(Repository):
    """The table of webhooks as deliverers and reports see it. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        super().__init__(store)
        self._holder = holder

    @writes
    def register(self, name: str, kind: str, mark: int) -> Tx[bool]:
        """Make a row that begins at the feed's end, unless there is one.

        mark: by which its address is known again. Answers whether one that had stopped goes on, since its
        address is another one.
        """
        told = {"name": name, "kind": kind, "mark": mark}
        if (yield Run("webhooks.register", told)):
            return False
        row = one((yield Run("webhooks.one", {"name": name})))
        if row is None or row["address_mark"] == mark:
            return False
        yield Run("webhooks.readdress", told)
        return row["stopped_at"] is not None

    @writes
    def forget_others(self, names: Sequence[str], silent_for: float) -> Tx[dict[str, int]]:
        """Forget webhooks that are not among these and that nobody delivered for so long; answers which, and
        how many mails of the feed each had not settled.
        """
        rows = yield Run("webhooks.others", {"seconds": silent_for})
        gone = {str(row["name"]): int(row["waiting"]) for row in rows if row["name"] not in names}
        for each in gone:
            yield Run("webhooks.forget", {"name": each})
        return gone

    @writes
    def claim(self, name: str, lease: float) -> Tx[WebhookState | None]:
        """Take it, or keep it. None: another daemon has it, or it has no row. A quiet look writes nothing."""
        row = one((yield Run("webhooks.one", {"name": name})))
        if row is None:
            return None
        ours = row["holder"] == self._holder
        if ours and (self._store.exclusive or float(row["now"]) - float(row["leased_at"]) < lease / 2):
            return _state(row)
        claimed = yield Run("webhooks.claim", {"name": name, "holder": self._holder, "seconds": lease})
        return _state(row) if claimed else None

    @writes
    def renew(self) -> Tx[None]:
        """Say that we live, for all that we hold."""
        yield Run("webhooks.renew", {"holder": self._holder})

    @writes
    def release(self, name: str) -> Tx[None]:
        """Let another daemon have it."""
        yield Run("webhooks.release", {"name": name, "holder": self._holder})

    @writes
    def advance(self, name: str, before: int, position: int) -> Tx[None]:
        """Everything up to this position is settled: what stands between was left out by the filter.

        before: the position as it was read; where a replay has put it back since, nothing changes.
        """
        yield Run(
            "webhooks.advance",
            {
                "name": name,
                "holder": self._holder,
                "before": before,
                "position": position,
                "left_out": position - before,
            },
        )

    @writes
    def begin(
        self,
        name: str,
        killmail_id: int,
        before: int,
        position: int,
        pace: Sequence[PaceWindow],
    ) -> Tx[float | None]:
        """Write down that this mail is about to be sent. Answers 0, or the seconds to wait.

        before: the position as it was read. position: everything up to it is settled. None: it is not ours
        any more, or somebody paused it or put it back.
        """
        if pace:
            yield from self._alone(name)
        row = one((yield Run("webhooks.held", {"name": name, "holder": self._holder})))
        if row is None or row["paused_at"] is not None or _state(row).stopped_for_good:
            return None
        if int(row["position"]) != before:
            return None
        wait = max(float(row["not_before"]) - float(row["now"]), (yield from self._wait(name, pace)))
        if wait > 0.0:
            return wait
        yield Run(
            "webhooks.sending",
            {
                "name": name,
                "killmail_id": killmail_id,
                "position": position,
                "left_out": position - before,
            },
        )
        yield Run("webhooks.requested", {"name": name})
        return 0.0

    @writes
    def count_request(self, name: str, pace: Sequence[PaceWindow]) -> Tx[float]:
        """Count a request that belongs to no mail's delivery. Answers 0, or the seconds to wait for the
        pace, and for what the other side asked for.
        """
        yield from self._alone(name)
        row = one((yield Run("webhooks.one", {"name": name})))
        asked = _state(row).asked_to_wait if row is not None else 0.0
        wait = max(asked, (yield from self._wait(name, pace)))
        if wait <= 0.0:
            yield Run("webhooks.counted", {"name": name})
        return max(0.0, wait)

    @writes
    def noted(self, name: str, wait: float, channel: str | None) -> Tx[None]:
        """What came of such a request. wait: seconds before the next one may leave."""
        yield Run("webhooks.counted_answered", {"name": name})
        yield Run("webhooks.noted", {"name": name, "wait": wait, "channel": channel})

    def _alone(self, name: str) -> Tx[None]:
        """Nobody else counts requests of this kind of webhook until this transaction ends."""
        row = one((yield Run("webhooks.one", {"name": name})))
        if row is not None:
            yield Run("webhooks.count_alone", {"kind": row["kind"]})

    def _wait(self, name: str, pace: Sequence[PaceWindow]) -> Tx[float]:
        """Seconds until the pace allows another request."""
        if not pace:
            return 0.0
        longest = max(window.seconds for window in pace) + MARGIN
        rows = yield Run("webhooks.recent", {"name": name, "seconds": longest})
        waits = [0.0]
        for window in pace:
            times = [
                float(row["sent_at"]) - float(row["now"])
                for row in rows
                if window.shared or row["name"] == name
            ]
            if len(times) >= window.requests:
                waits.append(times[window.requests - 1] + window.seconds + MARGIN)
        return max(waits)

    @writes
    def doubt(self, name: str) -> Tx[None]:
        """We took over while a request was under way: it may have arrived just now."""
        yield Run("webhooks.answered", {"name": name})

    @writes
    def settle(
        self,
        name: str,
        killmail_id: int,
        before: int,
        position: int,
        *,
        message_id: str | None = None,
        channel: str | None = None,
        refused: str | None = None,
        wait: float = 0.0,
    ) -> Tx[None]:
        """It was delivered, or (refused) set aside. wait: seconds before the next request may leave.

        before: the position that `begin` wrote. Where another daemon took over meanwhile, it finds what was
        delivered in the delivery's own row.
        """
        yield Run("webhooks.answered", {"name": name})
        if not (yield Run("webhooks.held", {"name": name, "holder": self._holder})):
            there = yield Run("webhooks.one", {"name": name})
            if not there or refused is not None:
                return
        yield Run(
            "webhooks.deliver",
            {"name": name, "killmail_id": killmail_id, "message_id": message_id, "refused": refused},
        )
        yield Run(
            "webhooks.settled",
            {
                "name": name,
                "holder": self._holder,
                "before": before,
                "position": position,
                "channel": channel,
                "delivered": int(refused is None),
                "set_aside": int(refused is not None),
                "wait": wait,
            },
        )
        yield Run("webhooks.forget_requests", {"name": name, "seconds": KEPT_REQUESTS})
        yield Run("webhooks.forget_deliveries", {"name": name, "seconds": KEPT_DELIVERIES})

    @writes
    def failed(self, name: str, error: str, wait: float, *, counts: bool, doubtful: bool) -> Tx[None]:
        """Nothing came of it. counts: as a failed attempt. doubtful: this request, or one before it for the
        same mail, may have arrived.
        """
        yield Run("webhooks.answered", {"name": name})
        yield Run(
            "webhooks.failed",
            {
                "name": name,
                "holder": self._holder,
                "error": error,
                "wait": wait,
                "counts": int(counts),
                "doubtful": int(doubtful),
            },
        )

    @writes
    def hold_up(self, name: str, wait: float, *, everybody: bool) -> Tx[None]:
        """The other side asked for a pause of the whole channel, or of everybody."""
        row = one((yield Run("webhooks.one", {"name": name})))
        if row is not None:
            where = {"name": name, "kind": row["kind"]}
            yield Run("webhooks.hold_up", {**where, "wait": wait, "everybody": int(everybody)})

    @writes
    def stop(self, name: str, error: str, wait: float, *, doubtful: bool) -> Tx[None]:
        """The other side refuses everything. wait: seconds until it is tried once more; 0: never. doubtful:
        as for `failed`.
        """
        yield Run("webhooks.answered", {"name": name})
        told = {"name": name, "holder": self._holder, "error": error, "wait": wait}
        yield Run("webhooks.stop", {**told, "doubtful": int(doubtful)})

    @reads
    def all(self) -> Tx[list[WebhookState]]:
        """Every webhook that has a row, by name."""
        return [_state(row) for row in (yield Run("webhooks.all", {}))]

    @reads
    def deliveries(self, name: str, ids: Sequence[int]) -> Tx[dict[int, Delivery]]:
        """What became of these mails; absent are those that were left out or are still to come."""
        rows = yield Run("webhooks.deliveries", {"name": name, "ids": Ids(ids)})
        return {int(row["killmail_id"]): _delivery(row) for row in rows}

    @reads
    def set_aside(self, name: str, limit: int) -> Tx[list[Delivery]]:
        """The last mails that the other side refused for good."""
        return [_delivery(row) for row in (yield Run("webhooks.set_aside", {"name": name, "limit": limit}))]

    @reads
    def set_aside_since(self, seconds: float) -> Tx[dict[str, SetAside]]:
        """What was refused in the last so many seconds, by webhook."""
        rows = yield Run("webhooks.set_aside_since", {"seconds": seconds})
        return {str(row["name"]): SetAside(int(row["mails"]), str(row["refused"])) for row in rows}

    @reads
    def last_settled(self, position: int, limit: int) -> Tx[list[int]]:
        """The last mails up to a position, the newest first."""
        rows = yield Run("webhooks.last_settled", {"position": position, "limit": limit})
        return [int(row["killmail_id"]) for row in rows]

    @writes
    def pause(self, name: str) -> Tx[bool]:
        """Stop delivering. False: it was paused already."""
        return bool((yield Run("webhooks.pause", {"name": name})))

    @writes
    def resume(self, name: str) -> Tx[bool]:
        """Go on after a pause or a stop, and at once after failures. False: nothing held it up."""
        return bool((yield Run("webhooks.resume", {"name": name})))

    @writes
    def replay(self, name: str, since: float) -> Tx[int]:
        """Go through what was killed since then once more; answers how many mails that may be."""
        row = one((yield Run("webhooks.one", {"name": name})))
        if row is None:
            return 0
        since = float(int(since))  # killmails have whole seconds, and so must their border
        before = max(int(row["position"]), int(row["replay_to"]))
        found = one((yield Run("webhooks.replay_from", {"since": utc(since), "before": before})))
        if found is None or not found["mails"]:
            return 0
        yield Run("webhooks.replay", {"name": name, "position": int(found["position"]), "since": since})
        return int(found["mails"])


def _delivery(row: Row) -> Delivery:
    return Delivery(int(row["killmail_id"]), float(row["delivered_at"]), row["message_id"], row["refused"])


def _state(row: Row) -> WebhookState:
    def moment(column: str) -> float | None:
        value: Any = row[column]
        return None if value is None else float(value)

    return WebhookState(
        name=str(row["name"]),
        kind=str(row["kind"]),
        position=int(row["position"]),
        feed_end=int(row["feed_end"]),
        now=float(row["now"]),
        created_at=float(row["created_at"]),
        paused_at=moment("paused_at"),
        stopped_at=moment("stopped_at"),
        error=row["error"],
        failing_at=moment("failing_at"),
        attempts=int(row["attempts"]),
        not_before=float(row["not_before"]),
        sending_id=row["sending_id"],
        sending_at=moment("sending_at"),
        replay_to=int(row["replay_to"]),
        replay_since=float(row["replay_since"]),
        delivered=int(row["delivered"]),
        set_aside=int(row["set_aside"]),
        left_out=int(row["left_out"]),
        delivered_at=moment("delivered_at"),
        holder=row["holder"],
        leased_at=moment("leased_at"),
        channel=row["channel"],
    )
