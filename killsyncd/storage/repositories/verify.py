"""What can be claimed of a character's mails, or a corporation's; the reasoning is in docs/ctl.md ("What
`verify` claims")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType

from killsyncd.core.clock import utc
from killsyncd.core.model import Doubt, SourceKind
from killsyncd.service import Claims, KnownThroughZkillboard, Verified, VerifiedCorporation
from killsyncd.storage.repositories.sources import REACH, views
from killsyncd.storage.repositories.users import user_from
from killsyncd.storage.repositories.zkillboard import subject_from
from killsyncd.storage.transaction import Row, Run, Tx, as_datetime, one
from killsyncd.zkillboard.walk import known_until

NOT_WHOLE = "no walk went through the whole list yet"

_WHY_DOUBTED: Mapping[str, str] = MappingProxyType(
    {
        Doubt.UNCHANGED.value: "ESI called the list unchanged and did not send it; it is asked for next",
        Doubt.LENGTH.value: "ESI did not say how many pages the list has (no X-Pages); it is asked again",
        Doubt.AGE.value: "ESI did not say how old the list is (no Expires, no Last-Modified)",
        Doubt.GENERATION.value: "ESI did not say whether the pages belong together (no Last-Modified); "
        "they are read again",
        Doubt.NO_LIST.value: "ESI says that there is no such list (404); it is asked again",
        Doubt.CACHED.value: "ESI forbids to ask for a page for unusually long (Expires); the others are read",
    }
)


def verify(user_ids: Sequence[str]) -> Tx[list[Verified]]:
    """What can be claimed for each of these users."""
    found = []
    for user_id in user_ids:
        row = one((yield Run("users.by_id", {"user_id": user_id})))
        if row is not None:
            found.append((yield from _verify_one(row)))
    return found


def _verify_one(row: Row) -> Tx[Verified]:
    user = user_from(row)
    source = one((yield Run("operations.source_of", {"user_id": user.id})))
    zkillboard = yield from _through_zkillboard(user.character_id)
    if source is None:
        why = "this character was never listed"
        nothing = (None, None, None, 0, 0, 0, 0, 0, 0, None, 0)
        return Verified(
            user.character_id, user.character_name, user.shown_state, False, why, *nothing, zkillboard
        )
    claims = yield from _claims(source)
    return Verified(
        character_id=user.character_id,
        character_name=user.character_name,
        state=user.shown_state,
        **{each.name: getattr(claims, each.name) for each in fields(claims)},
        zkillboard=zkillboard,
    )


def verify_corporations() -> Tx[list[VerifiedCorporation]]:
    """What can be claimed for each corporation whose list is read, or was."""
    found = []
    for row in (yield Run("sources.of_kind", {"kind": SourceKind.CORPORATION.value})):
        times = one((yield Run("operations.source_times", {"source_id": int(row["id"])})))
        if times is None:
            continue
        claims = yield from _claims(times)
        (view,) = yield from views([int(row["id"])])
        found.append(
            VerifiedCorporation(
                corporation_id=view.source.subject_id,
                corporation_name=view.name,
                state=view.state,
                state_reason=view.reason,
                remedy=view.remedy,
                zkillboard=(yield from _through_zkillboard(view.source.subject_id)),
                **{each.name: getattr(claims, each.name) for each in fields(claims)},
            )
        )
    return found


def _claims(source: Row) -> Tx[Claims]:
    """What can be claimed of a list. source: its id and times."""
    key = {"source_id": int(source["id"])}
    walks = {str(each["state"]): int(each["n"]) for each in (yield Run("operations.walks_by_state", key))}
    wanted = {str(each["state"]): int(each["n"]) for each in (yield Run("operations.wanted_of", key))}
    unreadable = one((yield Run("operations.unreadable_of", key)))
    last = one((yield Run("operations.last_walk", key)))
    listed = one((yield Run("operations.listed_of", key)))
    missing = one((yield Run("operations.missing_of", key)))
    oldest = one((yield Run("operations.oldest_of", key)))
    begun = end = None
    if source["unbroken_at"] is not None and source["vouched_at"] is not None:
        begun = utc(float(source["unbroken_at"])) - REACH
        end = max(begun, utc(float(source["vouched_at"])))
    gaps = (
        wanted.get("pending", 0),
        wanted.get("quarantined", 0),
        int(missing["n"]) if missing else 0,
        int(unreadable["n"]) if unreadable else 0,
    )
    return Claims(
        complete=begun is not None and not any(gaps),
        why=_why_nothing(last) if begun is None else None,
        complete_from=begun,
        complete_to=end,
        kept_since=as_datetime(oldest["killmail_time"]) if oldest else None,
        listed=int(listed["n"]) if listed else 0,
        pending=gaps[0],
        quarantined=gaps[1],
        missing=gaps[2],
        walks_cut=walks.get("cut", 0),
        walks_torn=walks.get("torn", 0),
        last_full_walk_at=utc(float(source["full_walk_at"])) if source["full_walk_at"] is not None else None,
        unreadable=gaps[3],
    )


def _through_zkillboard(subject_id: int) -> Tx[KnownThroughZkillboard | None]:
    source = one((yield Run("zkillboard.source_of", {"subject_id": subject_id})))
    if source is None:
        return None
    key = {"source_id": int(source["id"])}
    row = one((yield Run("zkillboard.subject", key)))
    if row is None:
        return None
    oldest = one((yield Run("operations.oldest_of", key)))
    listed = one((yield Run("operations.listed_of", key)))
    never = one((yield Run("zkillboard.never_listed", key)))
    wanted = {str(each["state"]): int(each["n"]) for each in (yield Run("operations.wanted_of", key))}
    until = known_until(subject_from(row), row["read_at"])
    return KnownThroughZkillboard(
        known_from=as_datetime(oldest["killmail_time"]) if oldest else None,
        known_to=None if until is None else utc(until),
        listed=int(listed["n"]) if listed else 0,
        never_listed=int(never["n"]) if never else 0,
        pending=wanted.get("pending", 0),
        quarantined=wanted.get("quarantined", 0),
        bad_entries=int(row["bad_entries"]),
    )


def _why_nothing(last: Row | None) -> str:
    if last is None:
        return "the list was not read yet"
    pages = f"page {min(int(last['next_page']), int(last['pages']))} of {int(last['pages'])}"
    return {
        "running": f"the first way through the list is under way: {pages} is next",
        "cut": f"the list has {int(last['pages'])} pages, and [producer] max_pages ended the walk before",
        "torn": "the list changed while it was read; it is read again",
        **dict.fromkeys(("complete", "stopped"), _WHY_DOUBTED.get(str(last["doubt"]), NOT_WHOLE)),
    }.get(str(last["state"]), NOT_WHOLE)
