"""What becomes of a killmail that did not come, or that cannot be read: when to try again, or quarantine."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import BadInput, KillsyncdError, RowRefused
from killsyncd.core.events import Events
from killsyncd.core.killmail import decode
from killsyncd.core.killmail_rows import entity_ids
from killsyncd.core.logging import get_logger
from killsyncd.core.model import QUARANTINE_SECONDS, Ref
from killsyncd.core.retry import full_jitter
from killsyncd.esi.responses import (
    EsiError,
    EsiStatus,
    MalformedResponse,
    NotSent,
)
from killsyncd.sync.batch import Arrival, Delivery
from killsyncd.sync.detail_storm import DetailStorm
from killsyncd.sync.pending_mails import PendingMails
from killsyncd.sync.ports import DetailLedger

REFUSALS = 4
"""A wrong id and hash pair is tried so often: peers saw 422 under load for pairs that were right."""

MALFORMED = 6
"""An unreadable mail is tried so often before a person has to look."""

PATIENCE = 12
"""Attempts at a mail whose error may be temporary; they take about an hour."""

_ID = re.compile(rb'"killmail_id"\s*:\s*(\d{1,20})')

SLICE = 1 << 19
"""Bytes of JSON that are decoded in one go; then everybody else has a turn."""

_STATUSES = {422: REFUSALS, 400: PATIENCE, 404: PATIENCE}
"""Only these say something of the mail. 401, 403 and their like are about us, and 5xx about ESI's day:
they quarantine nothing, however long they last."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a mail that did not come. wait: seconds until it is tried again."""

    wait: float
    attempts: int
    refusals: int
    quarantine: bool


def glance(raw: bytes, killmail_id: int) -> None:
    """Look whether this may be the mail that was asked for, without decoding it. Raises MalformedResponse.

    What is plainly something else (HTML, half a mail, another one) is counted before more is asked for.
    """
    if raw.lstrip()[:1] != b"{" or raw.rstrip()[-1:] != b"}":
        raise MalformedResponse("it is no JSON object")
    found = _ID.search(raw)
    if found is None or int(found[1]) != killmail_id:
        raise MalformedResponse("another killmail than the one asked for")


def unpack(delivery: Delivery) -> Arrival:
    """What was delivered, decoded. Raises MalformedResponse where it is not the mail that was asked for."""
    try:
        found = decode(delivery.raw)
    except BadInput as error:
        raise MalformedResponse(error.message) from None
    if found.killmail_id != delivery.ref.killmail_id:
        raise MalformedResponse("another killmail than the one asked for")
    return Arrival(found, delivery.ref.killmail_hash, delivery.raw, delivery.at)


def slices(batch: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    """A batch in parts that each take a few milliseconds to decode: a fleet fight has 500 KiB."""
    start = size = 0
    for end, each in enumerate(batch, start=1):
        size += len(each.raw)
        if size >= SLICE or end == len(batch):
            yield batch[start:end]
            start, size = end, 0


def judge(ref: Ref, error: KillsyncdError, rng: random.Random) -> Verdict:
    """When to try again: soon, or, where a person had better look, in a day."""
    patience = _patience(error)
    attempts = ref.attempts + 1
    refusals = ref.refusals + int(patience is not None)
    quarantine = patience is not None and refusals >= patience
    if quarantine:
        wait = QUARANTINE_SECONDS * rng.uniform(0.9, 1.0)
    elif patience is not None and patience < PATIENCE:
        wait = full_jitter(refusals, first=4.0, cap=60.0, rng=rng)
    else:
        wait = full_jitter(attempts, first=5.0, cap=600.0, rng=rng)
    return Verdict(wait, attempts, refusals, quarantine)


@dataclass(slots=True)
class Unpacked:
    """A batch, decoded. broken: what can't be, and why. ids: all that may have names."""

    arrivals: list[Arrival] = field(default_factory=list)
    broken: list[tuple[Ref, KillsyncdError]] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)


class FailurePolicy:
    """Writes down what did not come: when to try again, or why a person has to look."""

    def __init__(
        self, ledger: DetailLedger, pending: PendingMails, events: Events, clock: Clock, rng: random.Random
    ) -> None:
        self._ledger = ledger
        self._pending = pending
        self._events = events
        self._clock = clock
        self._rng = rng
        self._log = get_logger(__name__)
        self.storm = DetailStorm(rng)
        self.failures = 0
        """Mails that did not come, each time."""
        self.quarantined = 0

    async def unpack(self, batch: Sequence[Delivery]) -> Unpacked:
        """Decode a batch.

        Together and not as they come: decoding costs half as much where it follows decoding.
        """
        found = Unpacked()
        for part in slices(batch):
            before = len(found.arrivals)
            for each in part:
                try:
                    found.arrivals.append(unpack(each))
                except MalformedResponse as error:
                    found.broken.append((each.ref, error))
                except Exception as error:
                    found.broken.append((each.ref, self.unforeseen(each.ref, error)))
            found.ids |= entity_ids(*(each.killmail for each in found.arrivals[before:]))
            await asyncio.sleep(0)
        return found

    def unforeseen(self, ref: Ref, error: Exception) -> KillsyncdError:
        """An error of ours: told with its traceback, and held against the mail like any other."""
        self._log.exception("a killmail failed with an unexpected error", error, killmail_id=ref.killmail_id)
        return KillsyncdError(f"internal error: {type(error).__name__}")

    async def failed(self, ref: Ref, error: KillsyncdError) -> None:
        """A mail did not come, or cannot be read, and this is why: it is under way no more."""
        if not await self._judge(ref, error):
            self._pending.read_again()  # as it was, or by another hash: it may be pending now
        self._pending.landed(ref.killmail_id)
        self._pending.changed.ring()

    async def _judge(self, ref: Ref, error: KillsyncdError) -> bool:
        """Write down when to try again. False: that does not stand; the ledger must be looked at."""
        self.failures += 1
        verdict = judge(ref, error, self._rng)
        # A request without an answer costs as much as any failure; one that never left costs nothing.
        if isinstance(error, EsiError) and not isinstance(error, NotSent):
            self._count_failure(error)
            if self.storm.on:  # ESI is failing and not the mail: no attempt counts
                verdict = Verdict(self.storm.rest(), ref.attempts, ref.refusals, False)
        stands = False
        try:
            stands = await self._write_down(ref, verdict, error.message)
        except KillsyncdError as trouble:  # it is pending as before
            self._log.error("could not write down a failure", reason=trouble.message)
        if verdict.quarantine and stands:
            self.storm.gave_up(ref.killmail_id)
            self.tell_quarantined(ref.killmail_id, error.message, attempts=verdict.attempts)
        else:
            self._log.debug(
                "mail failed, will try again",
                killmail_id=ref.killmail_id,
                reason=error.message,
                attempts=verdict.attempts,
            )
        return stands

    def _count_failure(self, error: EsiError) -> None:
        if self.storm.failed(error.message, self._clock.monotonic()):
            self._log.warning(
                "every killmail fails: asking for one now and then",
                reason=error.message,
                failures=self.storm.in_a_row,
            )

    def storm_report(self) -> str | None:
        """That every mail fails alike, why, and when the next one is asked for; None while that is not so."""
        storm = self.storm
        if not storm.on:
            return None
        at = utc(self._clock.now() + max(0.0, storm.probe_at - self._clock.monotonic()))
        return (
            f"the last {storm.in_a_row} killmails asked for all failed: {storm.reason}; "
            f"one is tried again at {at:%H:%M:%S} UTC"
        )

    async def came(self) -> None:
        """Mails have come, and can be read: if ESI was at fault, it is no longer."""
        given_up = self.storm.came()
        if given_up is None:
            return
        self._log.info("killmails come again")
        if not given_up:
            return
        try:
            await self._ledger.retry(sorted(given_up))
        except KillsyncdError as trouble:  # they are tried again by themselves in a day
            self._log.error("could not have mails tried again", reason=trouble.message)
        self._events.tell("refs")

    async def refused(self, ref: Ref, refusal: RowRefused) -> bool:
        """The database will not have a mail: quarantined. False: another hash of it may be pending now.

        Raises Unavailable.
        """
        return await self._write_down(
            ref, Verdict(QUARANTINE_SECONDS, ref.attempts + 1, ref.refusals + 1, True), refusal.message
        )

    def tell_quarantined(self, killmail_id: int, reason: str, **more: object) -> None:
        """One more that a person has to look at."""
        self.quarantined += 1
        self._log.warning("mail quarantined", killmail_id=killmail_id, reason=reason, **more)

    async def _write_down(self, ref: Ref, verdict: Verdict, reason: str) -> bool:
        now = self._clock.now()
        return await self._ledger.ref_failed(
            ref,
            reason=reason,
            not_before=now + verdict.wait,
            by=now,
            attempts=verdict.attempts,
            refusals=verdict.refusals,
            quarantine=verdict.quarantine,
        )


def _patience(error: KillsyncdError) -> int | None:
    """How many refusals of this kind are enough; None: it is tried for ever."""
    if isinstance(error, MalformedResponse):
        return MALFORMED
    if isinstance(error, EsiStatus):
        return _STATUSES.get(error.status)
    return None if isinstance(error, EsiError) else PATIENCE  # an error of ours
