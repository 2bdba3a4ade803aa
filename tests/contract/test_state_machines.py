"""Queue and ledger against small models, in any order of what can happen to them (Hypothesis).

Both live in one database and in one machine, since a page written down ends a job, and a mail stored ends
what the page wanted. The model knows three sets of mails and one row a pilot.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from killsyncd.core.model import Job, Origin, SyncMode
from killsyncd.storage.repositories.ledger import LedgerRepository
from tests.support.state_machine import SEVERAL, DatabaseMachine
from tests.support.storage_world import Pilot

PILOTS = (1, 2, 3)
ASKERS = {Origin.LOGIN: 8, Origin.MANUAL: 5, Origin.PRODUCER: 3}


@dataclass
class Wanted:
    """What the model knows of a row of the queue."""

    mode: SyncMode
    priority: int
    due: float
    claimed: bool = False
    again: bool = False


class QueueAndLedger(DatabaseMachine):
    """What happens, and what must hold after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.pilots: dict[int, Pilot] = {each: self.run(self.world.pilot(each)) for each in PILOTS}
        self.wanted: dict[int, Wanted] = {}
        self.jobs: dict[int, Job] = {}
        self.pending: set[int] = set()
        self.quarantined: set[int] = set()
        self.stored: list[int] = []

    # The queue

    @rule(number=st.sampled_from(PILOTS), origin=st.sampled_from(list(ASKERS)), full=st.booleans())
    def ask(self, number: int, origin: Origin, full: bool) -> None:
        mode = SyncMode.FULL_SYNC if full else SyncMode.INCREMENTAL
        priority = ASKERS[origin]
        self.run(self.world.want(self.pilots[number], mode, priority, origin))
        row = self.wanted.get(number)
        if row is None:
            self.wanted[number] = Wanted(mode, priority, 0.0)
            return
        wider = SyncMode.FULL_SYNC if SyncMode.FULL_SYNC in (row.mode, mode) else SyncMode.INCREMENTAL
        changed = wider is not row.mode or priority > row.priority or row.due > 0.0
        if row.claimed and (changed or origin is not Origin.PRODUCER):
            row.again = True
        row.mode, row.priority, row.due = wider, max(row.priority, priority), 0.0

    @rule()
    def claim(self) -> None:
        now = self.run(self.world.now())
        job = self.run(self.world.wants.claim())
        free = {n: row for n, row in self.wanted.items() if not row.claimed and row.due <= now}
        if job is None:
            assert not free
            return
        row = free[job.character_id]
        assert row.priority == max(each.priority for each in free.values())
        assert (job.mode, job.priority) == (row.mode, row.priority)
        row.claimed, row.again = True, False
        self.jobs[job.character_id] = job

    @precondition(lambda self: bool(self.jobs))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        number, job = data.draw(st.sampled_from(sorted(self.jobs.items(), key=lambda each: each[0])))
        until = self.run(self.world.now()) + data.draw(st.sampled_from([0.0, 30.0, 600.0]))
        self.run(self.world.wants.postpone(job, until, attempts=1, reason="a test"))
        row = self.wanted[number]
        # Who asked meanwhile is not made to wait.
        row.due = row.due if row.again else until
        row.claimed = row.again = False
        del self.jobs[number]

    @rule(seconds=st.sampled_from([1.0, 31.0, 601.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.run(self.backend.pass_time(seconds))

    # The ledger

    @precondition(lambda self: bool(self.jobs))
    @rule(data=st.data(), ids=st.lists(st.integers(1, 12), unique=True, max_size=6))
    def read_a_list(self, data: st.DataObject, ids: list[int]) -> None:
        number, job = data.draw(st.sampled_from(sorted(self.jobs.items(), key=lambda each: each[0])))
        walk = self.run(self.world.ledger.open_walk(job.source_id, job.mode))
        written = self.run(self.world.page(job, walk, ids))
        assert written.acknowledged
        fresh = set(ids) - set(self.stored) - self.quarantined
        self.pending |= fresh
        del self.jobs[number]
        row = self.wanted[number]
        if row.again:
            row.claimed = row.again = False
        else:
            del self.wanted[number]

    @precondition(lambda self: bool(self.pending))
    @rule(data=st.data())
    def mails_come(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.pending | {99})), min_size=1))
        self.run(self.world.store_mails(*sorted(chosen)))
        come = sorted(chosen & self.pending)  # nobody wants 99
        self.stored += come
        self.pending -= set(come)

    @precondition(lambda self: bool(self.pending))
    @rule(data=st.data(), for_good=st.booleans())
    def a_mail_fails(self, data: st.DataObject, for_good: bool) -> None:
        killmail_id = data.draw(st.sampled_from(sorted(self.pending)))
        state = "quarantined" if for_good else "pending"
        self.run(
            self.world.rows(
                "UPDATE refs SET state = :state, reason = 'a test' WHERE killmail_id = :id",
                state=state,
                id=killmail_id,
            )
        )
        if for_good:
            self.pending.remove(killmail_id)
            self.quarantined.add(killmail_id)

    @rule()
    def try_again(self) -> None:
        done = self.run(self.ledger().retry())
        assert set(done) == self.quarantined
        self.pending |= self.quarantined
        self.quarantined = set()

    def ledger(self) -> LedgerRepository:
        return LedgerRepository(self.world.store, self.world.member.id)

    # What must hold

    @invariant()
    def every_listed_mail_is_stored_wanted_or_set_aside(self) -> None:
        refs = self.run(self.world.refs())
        assert {each for each, state in refs.items() if state == "pending"} == self.pending
        assert {each for each, state in refs.items() if state == "quarantined"} == self.quarantined
        assert self.run(self.world.stored_ids()) == self.stored

    @invariant()
    def positions_are_in_order_and_without_gaps(self) -> None:
        rows = self.run(self.world.rows("SELECT feed_position FROM killmails ORDER BY feed_position"))
        assert [int(row[0]) for row in rows] == list(range(1, len(self.stored) + 1))

    @invariant()
    def the_queue_holds_what_was_asked_for(self) -> None:
        depth = self.run(self.world.wants.depth())
        assert depth.messages == sum(not row.claimed for row in self.wanted.values())
        assert depth.working == sum(row.claimed for row in self.wanted.values())

    @invariant()
    def a_last_id_has_nothing_missing_below_it(self) -> None:
        missing = self.pending | self.quarantined
        for pilot in self.pilots.values():
            last = self.run(self.world.last_id(pilot))
            seen = self.run(
                self.world.rows("SELECT killmail_id FROM sightings WHERE source_id = :id", id=pilot.source_id)
            )
            ids = {int(row[0]) for row in seen}
            whole = [each for each in ids - missing if not any(m < each for m in ids & missing)]
            assert last == max(whole, default=None)


TestQueueAndLedger = pytest.mark.slow(QueueAndLedger.TestCase)
TestQueueAndLedger.settings = SEVERAL
