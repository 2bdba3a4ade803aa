"""Sources as people see them: what each brings, in what state it is, and by whose leave it is read.

A source is a list that killmails come from (`Source`). Its trouble is its own: a Director who lost the role
keeps a corporation's list from being read, and nothing from the pilot's own. Knows `core.model` alone.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from killsyncd.core.model import REMEDIES, Source, SourceKind, UserState

KILLMAIL_SCOPE = "esi-killmails.read_killmails.v1"
"""What every login must carry: it opens the pilot's own list."""

CORPORATION_SCOPE = "esi-killmails.read_corporation_killmails.v1"
"""What a login must carry so that a corporation's list can be read with it; its pilot must be a Director."""

LAST_NPC_CORPORATION = 1_999_999
"""Corporations up to this id are NPCs' (CCP's id ranges): they have no list that a player may read."""

UNAVAILABLE_AFTER = 3
"""From so many failed syncs in a row on a source shows as `unavailable`; fewer are ordinary."""

LOGIN = "killsyncd login"

SWITCHES = {SourceKind.CORPORATION: "corporations", SourceKind.ZKILLBOARD: "zkillboard"}
"""Kinds of sources that the configuration switches on, by its section."""


class SourceState(enum.StrEnum):
    """What stands between a source and being read. The values are public (`ctl sources`, GraphQL)."""

    OK = "ok"
    ROLE_MISSING = "role_missing"
    """None of the pilots who could lend a token has the role Director."""
    SCOPE_MISSING = "scope_missing"
    """No login carries the scope that the list needs."""
    NO_TOKEN = "no_token"  # noqa: S105
    """Nobody lends a token: logged out, sold, gone from the corporation."""
    PAUSED = "paused"
    UNAVAILABLE = "unavailable"
    """It is not read just now: it failed several times, or is refused and doubted, or has no list (NPCs')."""


class Refusal(enum.StrEnum):
    """Why ESI refuses a corporation's list to a pilot's token (403), as far as its words tell."""

    ROLE = "role"
    """"Character does not have required role(s)"."""
    MEMBERSHIP = "membership"
    """"Character is not in the corporation"."""
    SCOPE = "scope"
    """The token lacks the scope."""
    OTHER = "other"
    """Words that say none of this, or none at all."""


@dataclass(frozen=True, slots=True)
class Lender:
    """A user by whose token a source is or may be read."""

    user_id: str
    character_id: int
    character_name: str


@dataclass(frozen=True, slots=True)
class Member:
    """One of our pilots in a corporation, and what came of asking for its list with the pilot's token.

    granted: there is a refresh token. scoped: the login carries the corporation's scope. accepted_at: when
    ESI last gave the list to it. refusal: why it refuses it since, None while it does not; refusals: how
    often in a row, refused_since and refused_at: when the first was heard and the last that counts.
    believed: it is not asked again before a day is over. not_before: until when it is passed over. Times in
    seconds since 1970.
    """

    lender: Lender
    state: UserState
    paused: bool
    granted: bool
    scoped: bool
    accepted_at: float | None = None
    refusal: Refusal | None = None
    words: str = ""
    refusals: int = 0
    refused_since: float | None = None
    refused_at: float | None = None
    believed: bool = False
    not_before: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether there is a token of this pilot's to be had."""
        return self.state is UserState.OK and not self.paused and self.granted


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source as `ctl sources` and GraphQL show it.

    name: of the subject, None until it is known. reason, remedy: where it is not ok. via: who lends a token,
    the one in use first; empty where none is needed. complete_from, complete_to: see docs/ctl.md ("What
    `verify` claims"); None while nothing can be claimed.
    """

    id: int
    source: Source
    name: str | None
    state: SourceState
    reason: str | None
    remedy: str | None
    via: tuple[Lender, ...]
    last_sync_at: datetime | None
    last_killmail_id: int | None
    pending: int
    complete_from: datetime | None
    complete_to: datetime | None
    created_at: datetime

    @property
    def label(self) -> str:
        """Its subject for people: the name with the id, or the id alone."""
        if self.source.kind is SourceKind.IMPORT:
            return "imported files"
        return f"{self.name} ({self.source.subject_id})" if self.name else str(self.source.subject_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """State, reason and remedy of a source."""

    state: SourceState
    reason: str | None = None
    remedy: str | None = None


FINE = Standing(SourceState.OK)

_OF_USER = {
    UserState.NEEDS_LOGIN: (SourceState.NO_TOKEN, "the login has ended"),
    UserState.OWNER_CHANGED: (SourceState.NO_TOKEN, "the character belongs to another account now"),
    UserState.LEFT: (SourceState.NO_TOKEN, "the pilot has logged out"),
    UserState.SCOPE_MISSING: (SourceState.SCOPE_MISSING, "the login lacks the killmail scope"),
}


def failing(attempts: int, error: str | None) -> Standing:
    """Of a source that can be read, by how its syncs go. attempts: that failed in a row."""
    if attempts < UNAVAILABLE_AFTER:
        return FINE
    why = f"{attempts} syncs in a row failed: {error or 'no reason was kept'}"
    return Standing(
        SourceState.UNAVAILABLE, why, "nothing to do if it passes: it is tried again with growing pauses"
    )


def of_character(state: UserState, reason: str | None, paused: bool, character_id: int) -> Standing:
    """Of a pilot's own list: what keeps the pilot from being synced."""
    if state in _OF_USER:
        kind, why = _OF_USER[state]
        return Standing(kind, reason or why, REMEDIES[state])
    if paused:
        return Standing(
            SourceState.PAUSED, "the pilot is paused", f"killsyncd ctl resume --user {character_id}"
        )
    return FINE


def switched_off(kind: SourceKind) -> Standing:
    """Of a list that the configuration has not read."""
    switch = f"[{SWITCHES[kind]}] enabled"
    return Standing(SourceState.PAUSED, f"{switch} is false", f"set {switch} = true and restart")


def of_zkillboard_corporation(watched: bool) -> Standing:
    """Of what zKillboard knows of a corporation: it is asked while pilots of ours are in it."""
    if watched:
        return FINE
    why = "no pilot who logged in here is in this corporation any more: zKillboard is asked no more"
    return Standing(SourceState.PAUSED, why, f"nothing to do; a pilot of it logs in: {LOGIN}")


def of_zkillboard(state: UserState, paused: bool, character_id: int) -> Standing:
    """Of what zKillboard knows of a pilot: whether it is asked at all."""
    if state in (UserState.LEFT, UserState.OWNER_CHANGED):
        why = f"{_OF_USER[state][1]}: zKillboard is asked no more"
        return Standing(SourceState.PAUSED, why, REMEDIES[state])
    if paused:
        remedy = f"killsyncd ctl resume --user {character_id}"
        return Standing(SourceState.PAUSED, "the pilot is paused", remedy)
    return FINE


def of_corporation(members: Sequence[Member], closed: bool = False) -> Standing:
    """Of a corporation's list, by our pilots in it (also those who have logged out). closed: ESI says that
    there is no such corporation any more."""
    if closed and all(each.state is UserState.LEFT for each in members):
        return Standing(
            SourceState.NO_TOKEN,
            "the corporation was closed",
            "nothing to do: what its list brought stays",
        )
    scoped = [each for each in members if each.scoped]
    able = [each for each in scoped if each.usable]
    if any(each.refusal is None for each in able):
        return FINE
    if able:
        return _all_refused(able)
    if scoped or not any(each.usable for each in members):
        return _nobody_lends(scoped or members)
    return Standing(
        SourceState.SCOPE_MISSING,
        f"no login of our pilots in it carries the scope {CORPORATION_SCOPE}",
        f"a Director logs in again and leaves the corporation's killmails ticked: {LOGIN}",
    )


def of_npc_corporation(names: Sequence[str]) -> Standing:
    """Of an NPC corporation with these pilots of ours in it."""
    return Standing(
        SourceState.UNAVAILABLE,
        f"an NPC corporation has no list that a player may read; in it: {_shortened(names)}",
        "nothing to do: the pilots' own lists are read, and a player corporation's once they have joined one",
    )


def _nobody_lends(members: Sequence[Member]) -> Standing:
    if not members:
        return Standing(
            SourceState.NO_TOKEN,
            "no pilot who logged in here is in this corporation any more",
            f"a Director of the corporation logs in: {LOGIN}; what its list brought stays",
        )
    why = _shortened([f"{each.lender.character_name} ({_why_unusable(each)})" for each in members])
    paused = [each for each in members if each.state is UserState.OK and each.paused and each.granted]
    if paused:
        remedy = f"killsyncd ctl resume --user {paused[0].lender.character_id}"
    else:
        remedy = f"one of them, or another Director of the corporation, logs in: {LOGIN}"
    return Standing(SourceState.NO_TOKEN, f"none of our pilots in it lends a token: {why}", remedy)


def _why_unusable(member: Member) -> str:
    if member.state in _OF_USER:
        return _OF_USER[member.state][1]
    return "paused" if member.paused else "no token"


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _all_refused(members: Sequence[Member]) -> Standing:
    soonest = min(members, key=lambda each: (each.believed, each.not_before))
    at = datetime.fromtimestamp(soonest.not_before, UTC)
    if not soonest.believed:
        return Standing(
            SourceState.UNAVAILABLE,
            f"ESI refuses the list to {soonest.lender.character_name} (403: {soonest.words}), "
            "which may be wrong",
            f"nothing to do: it is asked again at {at:%H:%M} UTC",
        )
    names = _shortened([each.lender.character_name for each in members])
    again = f"asked again from {at:%-d %B %H:%M} UTC on"
    kinds = {each.refusal for each in members}
    if Refusal.ROLE in kinds:
        return Standing(
            SourceState.ROLE_MISSING,
            f"ESI says that the role Director is missing: {names}",
            f"give one of them the role Director in the game ({again}, or at once with a new login), "
            f"or have a Director log in: {LOGIN}",
        )
    if Refusal.SCOPE in kinds:
        return Standing(
            SourceState.SCOPE_MISSING,
            f"ESI says that the token lacks the scope {CORPORATION_SCOPE}: {names}",
            f"a Director logs in again and leaves the corporation's killmails ticked: {LOGIN}",
        )
    if Refusal.MEMBERSHIP in kinds:
        return Standing(
            SourceState.NO_TOKEN,
            f"ESI says that they are not in the corporation: {names}",
            f"if they are, nothing: {again}; else a Director of the corporation logs in: {LOGIN}",
        )
    return Standing(
        SourceState.UNAVAILABLE,
        f"ESI refuses the list (403: {members[0].words}): {names}",
        f"nothing to do: {again}; at once after a new login: {LOGIN}",
    )
