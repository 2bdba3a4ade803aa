"""How far a list at zKillboard is read, and what is known because of it: rules without a network."""

from __future__ import annotations

from dataclasses import replace

from killsyncd.zkillboard.walk import (
    FULL_EVERY,
    KEEP,
    MAPPING,
    MOST_PAGES,
    OLDEST_ANSWER,
    WITH_STREAM,
    EntityKind,
    ListedPage,
    Subject,
    after_page,
    known_until,
)

NEW = Subject(1, EntityKind.CHARACTER, 90_000_001)
MAILS = ListedPage([(1, "a"), (2, "b")])
END = ListedPage([])


def test_the_first_walk_reads_every_page_even_if_all_is_known() -> None:
    """The stream may have told of what is on a page, and of nothing that is on the ones behind it."""
    first = after_page(NEW, MAILS, new=0, at=1000.0)
    assert not first.ended
    assert (first.subject.next_page, first.subject.walk_at, first.wait) == (2, 1000.0, 0.0)
    last = after_page(first.subject, END, new=0, at=1010.0)
    assert last.ended
    assert (last.subject.next_page, last.subject.walk_at) == (1, None)
    assert (last.subject.whole_at, last.subject.full_at) == (1000.0, 1000.0), "when it began"


def test_later_walks_end_at_a_page_that_is_known() -> None:
    known = replace(NEW, whole_at=1000.0, full_at=1000.0)
    on = after_page(known, MAILS, new=1, at=9000.0)
    assert (on.ended, on.subject.next_page) == (False, 2)
    done = after_page(on.subject, MAILS, new=0, at=9001.0)
    assert done.ended
    assert (done.subject.whole_at, done.subject.full_at) == (9000.0, 1000.0)


def test_once_a_week_every_page_is_read() -> None:
    known = replace(NEW, whole_at=1000.0, full_at=1000.0)
    assert not after_page(known, MAILS, new=0, at=1000.0 + FULL_EVERY).ended
    assert after_page(known, MAILS, new=0, at=999.0 + FULL_EVERY).ended
    assert not after_page(known, MAILS, new=0, at=500.0).ended, "full in the future: the clock stood wrong"


def test_an_unreadable_entry_may_be_news() -> None:
    known = replace(NEW, whole_at=1000.0, full_at=1000.0)
    assert not after_page(known, replace(MAILS, bad=1), new=0, at=2000.0).ended
    assert not after_page(known, ListedPage([], bad=1), new=0, at=2000.0).ended


def test_zkillboard_has_a_hundred_pages() -> None:
    subject = replace(NEW, next_page=MOST_PAGES, walk_at=1000.0)
    done = after_page(subject, MAILS, new=2, at=1100.0)
    assert (done.ended, done.subject.full_at) == (True, 1000.0)


def test_what_is_known_ends_where_an_answer_may_be_old() -> None:
    assert known_until(NEW, 5000.0) is None
    assert known_until(replace(NEW, whole_at=10_000.0), 20_000.0) == 10_000.0 - OLDEST_ANSWER


def test_the_stream_counts_from_where_the_list_reaches_into_it() -> None:
    subject = replace(NEW, whole_at=10_000.0, unbroken_at=2000.0, watched_at=3000.0)
    assert known_until(subject, 20_000.0) == 20_000.0
    assert known_until(subject, None) == 10_000.0 - OLDEST_ANSWER
    late = 10_000.0 - OLDEST_ANSWER - MAPPING + 1.0
    assert known_until(replace(subject, watched_at=late), 20_000.0) == 10_000.0 - OLDEST_ANSWER
    broken = replace(subject, unbroken_at=10_000.0 - OLDEST_ANSWER + 1.0)
    assert known_until(broken, 20_000.0) == 10_000.0 - OLDEST_ANSWER


def test_the_list_is_read_again_soon_until_the_stream_has_joined_it() -> None:
    subject = replace(NEW, whole_at=10_000.0, full_at=10_000.0, unbroken_at=10_000.0, watched_at=10_000.0)
    assert after_page(subject, MAILS, new=0, at=10_000.0 + KEEP).wait == KEEP
    assert after_page(subject, MAILS, new=0, at=10_000.0 + KEEP + MAPPING).wait == WITH_STREAM
    without = replace(subject, unbroken_at=None)
    assert after_page(without, MAILS, new=0, at=99_000.0).wait == KEEP
