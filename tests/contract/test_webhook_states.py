"""A webhook's cursor against a small model, in any order of what can happen to it (Hypothesis).

Two daemons deliver by turns, as leases have it, and either can die at any moment, also between a request and
its writing down. Whatever happens: the cursor passes over no mail that was neither delivered, set aside nor
left out; a mail is sent twice only where the first may not have arrived, or a replay asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from killsyncd.storage.repositories.webhooks import WebhookRepository
from tests.support.state_machine import SEVERAL, DatabaseMachine
from tests.support.storage_world import StorageWorld

NAME = "hook"
LEASE = 30.0


@dataclass
class Sending:
    """A request that a daemon has under way: from which position it began, and for which mail."""

    killmail_id: int
    before: int
    position: int


class Webhook(DatabaseMachine):
    """Mails have the number of their place in the feed as their id."""

    def __init__(self) -> None:
        super().__init__()
        self.mails = 0
        self.position = 0
        self.holder: int | None = None
        self.silent = 0.0
        self.paused = False
        self.sending: dict[int, Sending] = {}
        self.settled: set[int] = set()
        """Delivered, set aside or left out."""
        self.received: dict[int, int] = {}
        self.pilot = self.run(self.world.pilot(1))
        self.daemons = [WebhookRepository(self.world.store, self.daemon(name)) for name in ("a", "b")]
        self.run(self.daemons[0].register(NAME, "json", 1))

    def alive(self, daemon: int) -> bool:
        return self.holder == daemon

    @rule(count=st.integers(1, 3))
    def mails_come(self, count: int) -> None:
        ids = list(range(self.mails + 1, self.mails + count + 1))
        self.mails += count
        self.run(self.world.listed(self.pilot, *ids))
        assert self.run(self.world.store_mails(*ids))

    @rule(daemon=st.sampled_from([0, 1]))
    def claim(self, daemon: int) -> None:
        state = self.run(self.daemons[daemon].claim(NAME, LEASE))
        free = self.holder in (None, daemon) or self.silent > LEASE
        assert (state is not None) == free
        if state is not None:
            assert state.position == self.position
            if self.holder != daemon:
                self.sending.pop(daemon, None)
                self.holder, self.silent = daemon, 0.0

    @precondition(lambda self: self.holder is not None)
    @rule()
    def renew(self) -> None:
        assert self.holder is not None
        self.run(self.daemons[self.holder].renew())
        self.silent = 0.0

    @rule(seconds=st.sampled_from([1.0, 31.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.run(self.backend.pass_time(seconds))
        self.silent += seconds

    @rule(daemon=st.sampled_from([0, 1]))
    def dies(self, daemon: int) -> None:
        """Without a word: the row keeps its name until the lease has passed."""
        self.sending.pop(daemon, None)

    @precondition(lambda self: self.holder is not None)
    @rule()
    def let_go(self) -> None:
        assert self.holder is not None
        self.sending.pop(self.holder, None)
        self.run(self.daemons[self.holder].release(NAME))
        self.holder = None

    @rule(daemon=st.sampled_from([0, 1]), left_out=st.integers(0, 2))
    def begin(self, daemon: int, left_out: int) -> None:
        """The next mail that the filter takes; those before it are left out."""
        before, after = self.position, self.position + left_out
        if after >= self.mails or daemon in self.sending:
            return
        begun = self.run(self.daemons[daemon].begin(NAME, after + 1, before, after, ()))
        allowed = self.alive(daemon) and not self.paused
        assert (begun is not None) == allowed
        if begun == 0.0:
            self.settled.update(range(before + 1, after + 1))
            self.position = after
            self.sending[daemon] = Sending(after + 1, before, after)

    @precondition(lambda self: bool(self.sending))
    @rule(data=st.data(), arrived=st.booleans(), refused=st.booleans(), answered=st.booleans())
    def ends(self, data: st.DataObject, arrived: bool, refused: bool, answered: bool) -> None:
        """The request is over, and what came of it is written down; where no answer came, it is in doubt."""
        daemon = data.draw(st.sampled_from(sorted(self.sending)))
        sent = self.sending.pop(daemon)
        if arrived:
            self.received[sent.killmail_id] = self.received.get(sent.killmail_id, 0) + 1
        rows = self.daemons[daemon]
        if not arrived or not answered:
            self.run(rows.failed(NAME, "a test", 0.0, counts=True, doubtful=arrived))
            return
        reason = "no" if refused else None
        self.run(rows.settle(NAME, sent.killmail_id, sent.position, sent.killmail_id, refused=reason))
        if self.alive(daemon) and self.position == sent.position:
            self.position = sent.killmail_id
            self.settled.add(sent.killmail_id)
        # Else another daemon has it now, and finds in the delivery's row that it arrived.

    @rule(daemon=st.sampled_from([0, 1]), by=st.integers(1, 3))
    def advance(self, daemon: int, by: int) -> None:
        """The filter leaves out what stands next. With a position that was read long ago nothing changes."""
        before = self.position
        if before + by > self.mails or daemon in self.sending:
            return
        self.run(self.daemons[daemon].advance(NAME, before, before + by))
        if self.alive(daemon):
            self.settled.update(range(before + 1, before + by + 1))
            self.position = before + by

    @rule(daemon=st.sampled_from([0, 1]))
    def advance_late(self, daemon: int) -> None:
        """Somebody who read a position that is no longer true."""
        self.run(self.daemons[daemon].advance(NAME, self.position + 1, self.position + 5))
        self.run(self.daemons[daemon].advance(NAME, self.position - 1, self.mails))

    @rule()
    def pause_or_resume(self) -> None:
        rows = self.daemons[0]
        self.run(rows.resume(NAME) if self.paused else rows.pause(NAME))
        self.paused = not self.paused

    @rule()
    def replay(self) -> None:
        """Everything once more: what was settled is to be settled again."""
        count = self.run(self.daemons[0].replay(NAME, 0.0))
        before = max(self.position, self.replayed_to())
        assert count == before
        if count:
            self.position = 0
            self.settled = set()

    def replayed_to(self) -> int:
        (state,) = self.run(self.daemons[0].all())
        return state.replay_to

    @invariant()
    def nothing_is_passed_over(self) -> None:
        (state,) = self.run(self.daemons[0].all())
        assert state.position == self.position
        assert set(range(1, self.position + 1)) <= self.settled


async def test_what_became_of_a_mail_is_forgotten_after_months(world: StorageWorld) -> None:
    rows = WebhookRepository(world.store, world.holder)
    await rows.register(NAME, "json", 1)
    assert await rows.claim(NAME, LEASE) is not None

    async def deliver(*ids: int) -> None:
        for each in ids:
            await rows.settle(NAME, each, 0, 0)

    await deliver(11, 12, 13)
    await world.rows("UPDATE webhook_deliveries SET delivered_at = delivered_at - 91.0 * 86400")
    await deliver(21)
    assert set(await rows.deliveries(NAME, [11, 12, 13, 21])) == {13, 21}
    await deliver(22)
    assert set(await rows.deliveries(NAME, [11, 12, 13, 21, 22])) == {21, 22}


TestWebhook = pytest.mark.slow(Webhook.TestCase)
TestWebhook.settings = SEVERAL
