"""What keeps a list from being read, all of it at once: each case with the state, the reason and the remedy
that an operator can act on, in `ctl sources`, in GraphQL and on the dashboard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, Stage, wait_for
from tests.support.browser_world import Open

pytestmark = [pytest.mark.browser, pytest.mark.slow(120)]

CORPORATION_SCOPE = "esi-killmails.read_corporation_killmails.v1"
GRAPHQL = "{ sources { kind subject { id name } state stateReason remedy via { characterName } } }"


@dataclass(frozen=True)
class Expected:
    """kind, subject: which source. reason, remedy: words that must be in it; empty: there is none."""

    kind: str
    subject: int
    state: str
    reason: str = ""
    remedy: str = ""

    def fits(self, shown: dict[str, Any] | None) -> bool:
        """Whether a door shows that."""
        if shown is None or shown["state"].lower() != self.state:
            return False
        reason, remedy = shown["stateReason"] or "", shown["remedy"] or ""
        wanted = bool(self.reason) == bool(reason) and bool(self.remedy) == bool(remedy)
        return wanted and self.reason in reason and self.remedy in remedy


def told_by_ctl(daemon: DaemonProcess) -> dict[tuple[str, int], dict[str, Any]]:
    shown = daemon.ctl("sources")["sources"]
    return {(each["kind"], int(each["subject"]["id"])): each for each in shown}


def told_by_graphql(daemon: DaemonProcess) -> dict[tuple[str, int], dict[str, Any]]:
    shown = daemon.graphql(GRAPHQL)["sources"]
    return {(each["kind"].lower(), int(each["subject"]["id"])): each for each in shown}


def trouble(eve: SimulatorProcess, daemon: DaemonProcess, stage: Stage) -> list[Expected]:
    """A pilot, each the Director of a corporation of their own, for every trouble there is."""
    eve.add_pilots(1, history=0)
    pilots = eve.pilots()
    ids = [int(each["character_id"]) for each in pilots]
    of = {int(each["character_id"]): int(each["corporation_id"]) for each in pilots}
    passing, unscoped, unticked, demoted, closed, sold, gone, nothing = ids
    eve.scopes(unticked, drop=[CORPORATION_SCOPE])
    stage.log_in(daemon, eve, *ids)
    readable = set(of.values()) - {of[unticked]}
    wait_for(lambda: readable <= read_corporations(daemon), 60, daemon.tail)

    # Twice, a minute apart: the third time is minutes away.
    eve.script("status", "esi.corporation_killmails", character=passing, status=403, count=2)
    eve.script("status", "esi.character_killmails", character=passing, status=403, count=1)
    eve.scopes(unscoped, drop=["esi-killmails.read_killmails.v1", CORPORATION_SCOPE])
    eve.director(demoted, yes=False)
    npc = eve.close_corporation(of[closed])
    eve.sell(sold)
    daemon.ctl("logout", str(gone))
    login = "killsyncd login"
    return [
        Expected("character", nothing, "ok"),
        Expected("corporation", of[nothing], "ok"),
        Expected("character", passing, "ok"),
        Expected("corporation", of[passing], "unavailable", "403", "it is asked again at"),
        Expected("character", unscoped, "scope_missing", "esi-killmails.read_killmails.v1", login),
        Expected("corporation", of[unscoped], "no_token", "killmail scope", login),
        Expected("character", unticked, "ok"),
        Expected("corporation", of[unticked], "scope_missing", CORPORATION_SCOPE, login),
        Expected("character", demoted, "ok"),
        Expected("corporation", of[demoted], "role_missing", "the role Director is missing", "in the game"),
        Expected("character", closed, "ok"),
        Expected("corporation", of[closed], "no_token", "the corporation was closed", "nothing to do"),
        Expected("corporation", npc, "unavailable", "an NPC corporation has no list", "nothing to do"),
        Expected("character", sold, "no_token", "another account", login),
        Expected("corporation", of[sold], "no_token", "another account", login),
        Expected("character", gone, "no_token", "logged out", login),
        Expected("corporation", of[gone], "no_token", "logged out", login),
    ]


def read_corporations(daemon: DaemonProcess) -> set[int]:
    """Corporations whose list was read."""
    with daemon.rows() as rows:
        found = rows.execute(
            "SELECT subject_id FROM sources WHERE kind = 'corporation' AND last_sync_at IS NOT NULL"
        )
        return {int(row[0]) for row in found}


def test_whatever_keeps_a_list_from_being_read_is_said_at_every_door(stage: Stage, open_page: Open) -> None:
    eve = stage.eve(
        pilots=7, history=3, pilots_per_corporation=1, cache=2, no_limits=True, token_life=24, sharing=0
    )
    eve.settings(affiliation_cache=2, empty_404=True)
    quick = {"interval": "2s", "min_age": "1s"}
    daemon = stage.daemon(eve, {"corporations": {"enabled": True}, "producer": quick})
    expected = trouble(eve, daemon, stage)

    def wrong() -> list[Any]:
        shown = told_by_ctl(daemon)
        return [
            (each, shown.get((each.kind, each.subject)))
            for each in expected
            if not each.fits(shown.get((each.kind, each.subject)))
        ]

    wait_for(lambda: not wrong(), 120, lambda: json.dumps([str(each) for each in wrong()], indent=1), every=1)
    told = told_by_graphql(daemon)
    assert [each for each in expected if not each.fits(told.get((each.kind, each.subject)))] == []
    lines = daemon.command("ctl", "sources").stdout.splitlines()
    for each in expected:
        (at,) = [
            number
            for number, line in enumerate(lines)
            if line.startswith(each.kind) and f" {each.subject} " in line
        ]
        assert each.state == "ok" or (each.reason in lines[at + 1] and each.remedy in lines[at + 1]), lines[
            at
        ]

    page = open_page()
    page.goto(daemon.url)
    for each in expected:
        if each.kind == "corporation" and each.state != "ok":
            page.see(f"#sources .source:has-text('{each.reason}'):has-text('{each.remedy}')", patience=40_000)
        elif each.state != "ok" and each.subject != 0 and "logged out" not in each.reason:
            page.see(f"#pilots tbody:has-text('{each.remedy}')", patience=40_000)
    page.assert_accessible()
    page.shot("states-of-sources", whole=True)
