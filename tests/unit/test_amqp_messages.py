"""The message's format, ours and the old one."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd.amqp import messages
from killsyncd.core.errors import BadInput
from killsyncd.core.model import Source, SourceKind, SyncMode
from killsyncd.sync.job_source import Announcement, WakeupMessage

OLD: dict[str, Any] = {
    "userId": 1,
    "characterId": 95465499,
    "characterName": "John Doe",
    "accessToken": "eyJhbGciOiJSUzI1NiIs...",
    "refreshToken": "dGhpc19pc19hX3JlZnJl...",
    "expiresAt": "2026-01-06T15:30:00.000Z",
    "queuedAt": "2026-01-06T14:30:00.000Z",
    "lastKillmailId": 123456789,
}
QUEUED = datetime(2026, 1, 6, 14, 30, tzinfo=UTC).timestamp()


def read(message: Any, priority: int | None = 5) -> WakeupMessage:
    return messages.read(json.dumps(message).encode(), priority)


def wanted(mode: SyncMode, last: int | None = 123) -> Announcement:
    return Announcement(
        7,
        "u7",
        95465499,
        "Jöhn",
        mode,
        8,
        QUEUED,
        datetime(2026, 1, 6, 15, 30, tzinfo=UTC),
        last,
        Source(SourceKind.CHARACTER, 95465499),
    )


def test_an_old_message_asks_for_what_is_new() -> None:
    assert read(OLD) == WakeupMessage(95465499, 5, ours=False, full=False, queued_at=QUEUED)


def test_an_old_message_without_a_last_id_asks_for_everything() -> None:
    for without in ({k: v for k, v in OLD.items() if k != "lastKillmailId"}, {**OLD, "lastKillmailId": None}):
        assert read(without).full


def test_unknown_keys_and_unreadable_times_are_passed_over() -> None:
    assert read({**OLD, "brandNew": {"a": 1}}) == read(OLD)
    for moment in ("soon", 12, None):
        assert read({**OLD, "queuedAt": moment}).queued_at is None
    assert read({"characterId": 7}) == WakeupMessage(7, 5, ours=False, full=True)


@pytest.mark.parametrize(("given", "taken"), [(None, 3), (0, 0), (8, 8), (200, 10)])
def test_priorities_are_those_of_the_queue(given: int | None, taken: int) -> None:
    assert read(OLD, given).priority == taken


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "characterId is missing"),
        (b'{"characterId": "95465499"}', "characterId is not an id"),
        (b'{"characterId": true}', "characterId is not an id"),
        (b'{"characterId": 0}', "characterId is not an id"),
        (b'{"characterId": 1.5}', "characterId is not an id"),
        (b'{"characterId": 9007199254740993}', "characterId is not an id"),
        (b'{"characterId": 1, "lastKillmailId": "2"}', "lastKillmailId is not an id"),
        (b'{"characterId": 1, "mode": "SIDEWAYS"}', "mode is none"),
        (b'{"characterId": 1, "mode": 3}', "mode is none"),
        (b'{"characterId": 1, "mode": []}', "mode is none"),
        (b'{"characterId": 1, "mode": {"a": 1}}', "mode is none"),
        (b'{"characterId": 1, "x": "' + b"y" * 70000 + b'"}', "bytes"),
    ],
)
def test_what_cannot_be_read_says_why_and_shows_nothing(body: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason) as caught:
        messages.read(body, 5)
    assert "95465499" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = (
    "characterId",
    "corporationId",
    "lastKillmailId",
    "mode",
    "queuedAt",
    "userId",
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(SourceKind))
def test_whatever_a_message_holds_it_is_read_or_refused(message: dict[str, Any], kind: SourceKind) -> None:
    """Anything else would come again and again, before all others."""
    with suppress(BadInput):
        messages.read(json.dumps(message | {"characterId": 1, "corporationId": 2}).encode(), 5, kind)
    with suppress(BadInput):
        messages.read(json.dumps(message).encode(), 5, kind)


def test_ours_is_the_old_format_without_tokens() -> None:
    made = json.loads(messages.build(wanted(SyncMode.INCREMENTAL), None))
    assert made == {
        "userId": "u7",
        "characterId": 95465499,
        "characterName": "Jöhn",
        "queuedAt": "2026-01-06T14:30:00.000Z",
        "expiresAt": "2026-01-06T15:30:00.000Z",
        "lastKillmailId": 123,
        "mode": "INCREMENTAL",
    }


@pytest.mark.parametrize("mode", [SyncMode.FIRST_SYNC, SyncMode.FULL_SYNC])
def test_only_an_incremental_sync_has_a_last_id(mode: SyncMode) -> None:
    assert "lastKillmailId" not in json.loads(messages.build(wanted(mode), None))
    assert "lastKillmailId" not in json.loads(messages.build(wanted(SyncMode.INCREMENTAL, None), None))


def test_old_workers_get_an_access_token_and_never_the_refresh_token() -> None:
    made = json.loads(messages.build(wanted(SyncMode.INCREMENTAL), "access"))
    assert (made["accessToken"], made["refreshToken"]) == ("access", "held-by-killsyncd")
    assert set(made) == {*OLD, "mode"}


CORPORATION = {**OLD, "corporationId": 98000001, "corporationName": "Byron Works"}


def of_corporation(mode: SyncMode = SyncMode.INCREMENTAL, name: str | None = "Byron Works") -> Announcement:
    return replace(wanted(mode), source=Source(SourceKind.CORPORATION, 98000001), subject_name=name)


def test_a_corporation_s_message_is_the_later_format_and_says_by_whose_token() -> None:
    made = json.loads(messages.build(of_corporation(), None))
    assert made == {
        "userId": "u7",
        "characterId": 95465499,
        "characterName": "Jöhn",
        "corporationId": 98000001,
        "corporationName": "Byron Works",
        "queuedAt": "2026-01-06T14:30:00.000Z",
        "expiresAt": "2026-01-06T15:30:00.000Z",
        "lastKillmailId": 123,
        "mode": "INCREMENTAL",
    }
    assert set(json.loads(messages.build(of_corporation(), "access"))) == {*CORPORATION, "mode"}
    nameless = json.loads(messages.build(of_corporation(name=None), None))
    assert nameless["corporationName"] == "98000001", "that worker insists on a name"


def test_an_old_message_of_a_corporation_asks_for_its_list_and_not_for_the_pilot_s() -> None:
    def found(message: dict[str, Any]) -> WakeupMessage:
        return messages.read(json.dumps(message).encode(), 5, SourceKind.CORPORATION)

    assert found(CORPORATION) == WakeupMessage(98000001, 5, ours=False, full=False, queued_at=QUEUED)
    assert found({"corporationId": 7}) == WakeupMessage(7, 5, ours=False, full=True)
    with pytest.raises(BadInput, match="corporationId is missing"):
        found(OLD)
    with pytest.raises(BadInput, match="corporationId is not an id"):
        found({**CORPORATION, "corporationId": "98000001"})
    ours = messages.read(messages.build(of_corporation(), None), 8, SourceKind.CORPORATION)
    assert (ours.subject_id, ours.ours) == (98000001, True)


def test_our_own_messages_point_and_ask_nothing() -> None:
    found = messages.read(messages.build(wanted(SyncMode.FULL_SYNC), None), 8)
    assert found == WakeupMessage(95465499, 8, ours=True, full=True, queued_at=QUEUED)
