"""Fair queueing: once each, newest first, shares by weight, nobody starves, bounded memory."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from killsyncd.sync.fair_queue import FairQueue


def drain(queue: FairQueue, allow_heavy: bool = True) -> list[tuple[int, int]]:
    served = []
    while (found := queue.next(allow_heavy)) is not None:
        served.append(found)
        queue.done(found[1])
    return served


def test_equal_weights_take_turns_and_serve_the_newest_first() -> None:
    queue = FairQueue()
    queue.add(1, 1, [10, 30, 20])
    queue.add(2, 1, [5, 7, 6])
    assert drain(queue) == [(1, 30), (2, 7), (1, 20), (2, 6), (1, 10), (2, 5)]
    assert len(queue) == 0


def test_three_fresh_mails_pass_a_first_sync() -> None:
    queue = FairQueue()
    queue.add(1, 8, range(1_000, 3_500))
    for _ in range(500):
        queue.next(True)
    queue.add(2, 3, [9_001, 9_002, 9_003])
    # Weight 3 against 8: three mails of the one in at most three times 8/3 of the other, and one more.
    first = [queue.next(True) for _ in range(12)]
    assert [found[1] for found in first if found and found[0] == 2] == [9_003, 9_002, 9_001]


def test_a_shared_mail_is_served_once() -> None:
    queue = FairQueue()
    queue.add(1, 1, [1, 2])
    queue.add(2, 1, [1, 2])
    assert sorted(killmail for _, killmail in drain(queue)) == [1, 2]
    assert queue.pending(1) == queue.pending(2) == 0


def test_in_flight_is_not_added_again_until_done() -> None:
    queue = FairQueue()
    queue.add(1, 1, [1])
    assert queue.next(True) == (1, 1)
    queue.add(2, 1, [1])
    assert queue.next(True) is None
    queue.done(1)
    queue.add(2, 1, [1])
    assert queue.next(True) == (2, 1)


def test_heavy_sources_wait_while_they_must() -> None:
    queue = FairQueue(heavy_above=2)
    queue.add(1, 1, [1, 2, 3])
    assert queue.heavy_waiting
    assert not queue.light_waiting
    assert queue.next(False) is None
    assert queue.next(True) == (1, 3)
    assert not queue.heavy_waiting
    assert queue.next(False) == (1, 2)


def test_a_source_that_had_to_wait_does_not_make_up_for_it() -> None:
    queue = FairQueue(heavy_above=50)
    queue.add(1, 1, range(100))
    for number in range(200):
        queue.add(2, 1, [1_000 + number])
        assert queue.next(False) == (2, 1_000 + number)
    queue.add(2, 1, range(2_000, 2_020))
    served = [queue.next(True) for _ in range(20)]
    assert sum(1 for found in served if found and found[0] == 2) >= 9


def test_an_emptied_source_gains_nothing_by_coming_back() -> None:
    queue = FairQueue()
    queue.add(1, 1, range(100))
    served: Counter[int] = Counter()
    for number in range(100):
        queue.add(2, 1, [1_000 + number])
        found = queue.next(True)
        assert found is not None
        served[found[0]] += 1
    assert abs(served[1] - served[2]) <= 2


def test_only_a_window_is_held_and_the_rest_comes_by_refill() -> None:
    queue = FairQueue(window=20)
    ledger = list(range(100))
    queue.add(1, 1, ledger)
    assert queue.pending(1) == 100
    assert len(queue) == 20
    served: list[int] = []
    while True:
        for source in queue.hungry():
            left = sorted(set(ledger) - set(served), reverse=True)
            queue.refill(source, 1, left[: queue.room], beyond=max(0, len(left) - queue.room))
        found = queue.next(True)
        if found is None:
            break
        served.append(found[1])
        queue.done(found[1])
        assert len(queue) <= 20
    assert served == ledger[::-1]


def test_older_ids_wait_for_the_refill_while_more_is_in_the_ledger() -> None:
    queue = FairQueue(window=10)
    queue.add(1, 1, range(100, 130))
    queue.add(1, 1, [5, 200])
    assert queue.pending(1) == 32
    assert queue.next(True) == (1, 200)
    assert queue.next(True) == (1, 129)


def test_a_refill_that_brings_nothing_does_not_ask_again() -> None:
    queue = FairQueue(window=10)
    queue.add(1, 1, range(30))
    for _ in range(10):
        found = queue.next(True)
        assert found is not None
        queue.done(found[1])
    assert queue.hungry() == [1]
    queue.refill(1, 1, [], beyond=20)
    assert queue.hungry() == []
    assert queue.pending(1) == 20
    queue.add(1, 1, [7])
    assert queue.next(True) == (1, 7)
    assert queue.hungry() == [1]


def test_many_sources_hold_less_each() -> None:
    queue = FairQueue(held_in_all=1_000)
    for source in range(100):
        queue.add(source, 1, range(source * 1_000, source * 1_000 + 500))
    for source in range(100):
        queue.add(source, 1, [])
    assert len(queue) <= 1_000 + 200 * 10
    assert queue.room == 10


def test_remove_and_drop_source() -> None:
    queue = FairQueue()
    queue.add(1, 1, [1, 2, 3])
    queue.add(2, 1, [3])
    queue.remove(3)
    queue.remove(99)
    assert queue.pending(2) == 0
    assert queue.next(True) == (1, 2)
    queue.drop_source(1)
    queue.drop_source(1)
    assert queue.next(True) is None
    assert queue.in_flight == 1


def test_weights_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="above zero"):
        FairQueue().add(1, 0, [1])


@given(st.lists(st.integers(1, 10), min_size=2, max_size=8), st.integers(20, 300))
def test_shares_follow_weights_among_the_backlogged(weights: list[int], rounds: int) -> None:
    queue = FairQueue(window=1_000, heavy_above=10_000)
    for source, weight in enumerate(weights):
        queue.add(source, weight, range(source * 10_000, source * 10_000 + 400))
    served: Counter[int] = Counter()
    for _ in range(rounds):
        found = queue.next(True)
        assert found is not None
        served[found[0]] += 1
        for one, first in enumerate(weights):
            for other, second in enumerate(weights):
                # The bound of the paper's theorem 1, for mails of equal length.
                assert abs(served[one] / first - served[other] / second) <= 1 / first + 1 / second + 1e-9


class Machine(RuleBasedStateMachine):
    """Random life of a queue, against plain sets that stand for the ledger."""

    @initialize(window=st.integers(8, 20), heavy=st.integers(1, 12))
    def begin(self, window: int, heavy: int) -> None:
        self.queue = FairQueue(window=window, heavy_above=heavy)
        self.ledger: dict[int, set[int]] = {}
        self.weights: dict[int, int] = {}
        self.flying: set[int] = set()
        self.waited: Counter[int] = Counter()

    sources = st.integers(1, 5)
    ids = st.sets(st.integers(1, 200), max_size=40)

    @rule(source=sources, weight=st.integers(1, 10), ids=ids)
    def listed(self, source: int, weight: int, ids: set[int]) -> None:
        new = ids - self.ledger.setdefault(source, set()) - self.flying
        self.ledger[source] |= new
        self.weights[source] = weight
        self.queue.add(source, weight, new)

    @rule(allow_heavy=st.booleans())
    def serve(self, allow_heavy: bool) -> None:
        for source in self.queue.hungry():
            left = sorted(self.ledger[source] - self.flying, reverse=True)
            room = self.queue.room
            self.queue.refill(source, self.weights[source], left[:room], beyond=max(0, len(left) - room))
        found = self.queue.next(allow_heavy)
        if found is None:
            if allow_heavy:
                assert not any(wanted - self.flying for wanted in self.ledger.values())
            return
        source, killmail_id = found
        assert killmail_id in self.ledger[source]
        assert killmail_id not in self.flying
        assert killmail_id == max(self.ledger[source] - self.flying)
        self.flying.add(killmail_id)
        for other, wanted in self.ledger.items():
            self.waited[other] = self.waited[other] + 1 if wanted - self.flying and other != source else 0
            if allow_heavy:
                assert self.waited[other] <= 1_000
        for wanted in self.ledger.values():
            wanted.discard(killmail_id)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        killmail_id = data.draw(st.sampled_from(sorted(self.flying)))
        self.flying.discard(killmail_id)
        self.queue.done(killmail_id)

    @rule(killmail_id=st.integers(1, 200))
    def remove(self, killmail_id: int) -> None:
        # An id beyond the window is not the queue's to forget; the ledger brings the next refill.
        if killmail_id in self.queue._owners or killmail_id in self.flying:
            for wanted in self.ledger.values():
                wanted.discard(killmail_id)
        self.flying.discard(killmail_id)
        self.queue.remove(killmail_id)

    @rule(source=sources)
    def drop(self, source: int) -> None:
        self.ledger[source] = set()
        self.queue.drop_source(source)

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "queue"):
            assert len(self.queue) <= 5 * 20
            for source in self.queue._sources.values():
                assert len(source.newest) <= 2 * len(source.held) + 200


Machine.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
TestFairQueue = Machine.TestCase
