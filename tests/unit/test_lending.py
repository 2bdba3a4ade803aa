"""Who lends a token to a corporation's list, and what a refusal of it means."""

from __future__ import annotations

import pytest

from killsyncd.auth.lending import (
    REFUSED_PAUSE,
    RefusalMemory,
    choose,
    heard,
    next_question,
    refusal_of,
)
from killsyncd.auth.refusals import LIST_BELIEVED_AFTER, LIST_PAUSES, ListRefusals
from killsyncd.core.model import UserState
from killsyncd.core.sources import Lender, Member, Refusal

NOW = 1_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("Character does not have required role(s)", Refusal.ROLE),
        ("Character is not in the corporation", Refusal.MEMBERSHIP),
        (
            "Forbidden - token is not valid for scope esi-killmails.read_corporation_killmails.v1",
            Refusal.SCOPE,
        ),
        ("Forbidden", Refusal.OTHER),
        ("", Refusal.OTHER),
    ],
)
def test_esi_s_words_tell_the_refusals_apart(words: str, refusal: Refusal) -> None:
    assert refusal_of(words) is refusal


def again(memory: RefusalMemory, *, accepted: bool = False) -> ListRefusals:
    """What is remembered, as it is read the next time."""
    return ListRefusals(memory.count, memory.since, memory.at, others_accepted=accepted)


@pytest.mark.parametrize("refusal", [Refusal.ROLE, Refusal.MEMBERSHIP, Refusal.SCOPE])
def test_whoever_is_refused_with_a_reason_is_asked_once_a_day(refusal: Refusal) -> None:
    """A peer spent 525,000 refusals in a month: here it is one a day, also of who read the list before."""
    memory = heard(refusal, NOW, before=ListRefusals())
    assert (memory.believed, memory.not_before) == (True, NOW + REFUSED_PAUSE)
    for day in range(1, 10):
        memory = heard(refusal, NOW + day * DAY, before=again(memory))
        assert (memory.believed, memory.not_before) == (True, NOW + (day + 1) * DAY)


def test_words_that_say_nothing_are_doubted_five_times_and_only_believed_if_others_are_served() -> None:
    at, memory = NOW, heard(Refusal.OTHER, NOW, before=ListRefusals())
    pauses = []
    for _ in range(LIST_BELIEVED_AFTER - 1):
        assert not memory.believed
        pauses.append(memory.not_before - at)
        at = memory.not_before
        memory = heard(Refusal.OTHER, at, before=again(memory, accepted=True))
    assert pauses == list(LIST_PAUSES[: LIST_BELIEVED_AFTER - 1])
    assert (memory.believed, memory.not_before) == (True, at + REFUSED_PAUSE)
    alone = heard(Refusal.OTHER, at, before=ListRefusals(4, NOW, NOW, others_refused=True))
    assert not alone.believed


def test_words_that_say_nothing_to_anybody_are_no_loop_either() -> None:
    """An ESI that refuses everybody for a week costs a pilot eight questions on the first day, then one."""
    at, memory, asked = NOW, heard(Refusal.OTHER, NOW, before=ListRefusals()), [NOW]
    while memory.not_before < NOW + 7 * DAY:
        at = memory.not_before
        memory = heard(Refusal.OTHER, at, before=ListRefusals(memory.count, NOW, memory.at, False, True))
        asked.append(at)
    days = [sum(1 for each in asked if day * DAY <= each - NOW < (day + 1) * DAY) for day in range(7)]
    assert days[0] <= 8
    assert set(days[1:]) == {1}


def member(
    number: int,
    *,
    state: UserState = UserState.OK,
    scoped: bool = True,
    accepted_at: float | None = None,
    refused: bool = False,
    not_before: float = 0.0,
) -> Member:
    lender = Lender(f"u{number}", number, f"Pilot {number}")
    refusal = Refusal.ROLE if refused else None
    return Member(
        lender, state, False, True, scoped, accepted_at, refusal, believed=refused, not_before=not_before
    )


def chosen(*members: Member, current: str | None = None, now: float = NOW) -> int | None:
    found = choose(members, current, now)
    return None if found is None else found.lender.character_id


def test_whoever_reads_the_list_goes_on_reading_it() -> None:
    """Others are not asked without need: each of them may be a refusal."""
    pilots = member(1), member(2, accepted_at=NOW), member(3)
    assert chosen(*pilots, current="u3") == 3
    assert chosen(*pilots) == 2, "who read it before comes before who was never asked"


def test_who_was_refused_is_passed_over_until_the_time_has_come() -> None:
    refused = member(1, refused=True, not_before=NOW + 100.0)
    assert chosen(refused, member(2), current="u1") == 2
    assert chosen(refused, current="u1") is None
    assert chosen(refused, now=NOW + 100.0) == 1
    assert chosen(refused, member(2), now=NOW + 100.0) == 2, "a pilot who was never asked comes first"
    assert next_question([refused, member(2)], NOW) == NOW + 100.0
    assert next_question([member(2)], NOW) is None


@pytest.mark.parametrize(
    "unable",
    [
        member(1, state=UserState.NEEDS_LOGIN),
        member(1, scoped=False),
        member(1, state=UserState.OWNER_CHANGED),
    ],
)
def test_who_has_no_token_for_it_lends_none(unable: Member) -> None:
    assert chosen(unable, current="u1") is None
