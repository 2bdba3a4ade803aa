"""What is sent: embeds that strangers cannot break, JSON that others verify, zKillboard's address."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from killsyncd.config import WebhookConfig, from_mapping
from killsyncd.core.read_model import Attacker, Mail, Victim
from killsyncd.simulator.webhooks import wrong_in_message
from killsyncd.webhooks import request
from killsyncd.webhooks.embed import TOGETHER, as_text, message, weight
from killsyncd.webhooks.model import Candidate, Place, ShipKind, Shown, Sides
from killsyncd.webhooks.text import clean, cut, escaped, isk, size
from tests.support.webhook_world import SECRET, secret_file

WHEN = datetime(2026, 11, 18, 11, 58, tzinfo=UTC)
MAIL = Mail(128000001, "ab" * 20, WHEN, 30000142, None, None, 12, 7, True, False, False, WHEN)
VICTIM = Victim(90000001, 98000001, 99000001, None, 587, 1000, None)
BLOW = Attacker(90000002, 98000002, None, None, 17703, 2488, 900, True, -1.5)
JITA = Place("Jita", 0.9459, 10000002, "The Forge")
NAMES = {
    90000001: "Jane Doe",
    98000001: "Doe Mining Co.",
    99000001: "Does United",
    587: "Rifter",
    90000002: "John Roe",
    98000002: "Roe Corp",
    17703: "Imperial Navy Slicer",
    30000142: "Jita",
}


def config(tmp_path: Path, kind: str = "discord", **more: Any) -> WebhookConfig:
    url = secret_file(tmp_path / "url", "https://discord.com/api/webhooks/1/token?thread_id=5&wait=false")
    table = {"name": "corp", "kind": kind, "url_file": str(url), **more}
    document = {"sso": {"client_id": "x"}, "esi": {"contact": "me@killsyncd.invalid"}, "webhooks": [table]}
    return from_mapping(document).webhooks[0]


def shown(names: dict[int, str] | None = None, **more: Any) -> Shown:
    one = Candidate(MAIL, VICTIM, Sides(), Sides(), JITA, ShipKind(25, "Rifter"), 1_234_567_890.0)
    return Shown(one, "loss", BLOW, NAMES if names is None else names, **more)


def test_an_embed_as_one_sees_it(tmp_path: Path) -> None:
    body = message(shown(), config(tmp_path, zkillboard_link=True), "https://kills.example.org")
    assert as_text(body) == "\n".join(
        [
            "Rifter of Jane Doe in Jita",
            "[zKillboard](https://zkillboard.com/kill/128000001/)",
            "Victim: Jane Doe / Doe Mining Co. / Does United",
            "Final blow: John Roe / Roe Corp / Imperial Navy Slicer",
            "System: Jita 0.9 (high) / The Forge",
            "Value: 1.23 b ISK",
            "Attackers: 12",
            "Time: 2026-11-18 11:58 UTC",
            "(Loss 128000001)",
        ]
    )
    (embed,) = body["embeds"]
    assert embed["url"] == "https://kills.example.org/#/killmail/128000001"
    assert embed["thumbnail"]["url"] == "https://images.evetech.net/types/587/render?size=128"
    assert body["allowed_mentions"] == {"parse": []}


TIME = re.compile(r"\d\d:\d\d UTC$")
"""Of the kill, which is ours."""

HOSTILE = [
    "@everyone @here <@123> <@&456> <#789>",
    "[Free ISK](https://evil.example) https://evil.example discord.gg/abc",
    "**bold** __under__ ~~gone~~ `code` ||spoiler|| > quote # head - list",
    "\u200b" * 200 + "zero" + "\u2060\u200d\ufeff",
    "\u202edlrow olleh\u202c \u2067isolated\u2069",
    "two\nlines\r\nand\u2028three",
    "Z" + "\u0301" * 300 + "algo",
    "\U000e0041\U000e0042tags\u3164\u115f",
    "<t:0:R> <:emoji:1> :skull: <https://evil.example>",
    "\\" * 300,
    "𝕏" * 400,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless_and_inside_the_limits(tmp_path: Path, name: str) -> None:
    body = message(shown(dict.fromkeys(NAMES, name)), config(tmp_path), "")
    raw = json.dumps(body)
    assert wrong_in_message(raw.encode()) == ""
    (embed,) = body["embeds"]
    assert weight(embed) <= TOGETHER
    texts = [embed["title"], embed["footer"]["text"]] + [
        text for each in embed["fields"] for text in (each["name"], each["value"])
    ]
    for text in texts:
        assert "@" not in text
        assert "://" not in text
        text = TIME.sub("", text)
        assert "discord.gg/" not in text
        assert not any(unicodedata.category(each) in ("Cf", "Cs", "Co", "Zl") for each in text)
        assert all(each == "\n" or unicodedata.category(each) != "Cc" for each in text)
        for mark in "*_~`|<>[]#:":  # every one of them is escaped
            assert all(text[at - 1] == "\\" for at, each in enumerate(text) if each == mark and at), text
    assert "\n" not in embed["title"]
    assert body["allowed_mentions"] == {"parse": []}


def test_a_hostile_embed_as_one_sees_it(tmp_path: Path) -> None:
    names = {
        **NAMES,
        90000001: "@everyone\n[Free ISK](https://evil.example)",
        98000001: "\u200b" * 200 + "\u202eproC",
        90000002: "**__John__** ||Roe||",
    }
    assert as_text(message(shown(names, again=True), config(tmp_path), "")).split("\n")[:3] == [
        "Rifter of ＠everyone \\[Free ISK\\]\\(https\\:∕∕evil.example\\) in Jita",
        "Victim: ＠everyone \\[Free ISK\\]\\(https\\:∕∕evil.example\\) / proC / Does United",
        "Final blow: \\*\\*\\_\\_John\\_\\_\\*\\* \\|\\|Roe\\|\\| / Roe Corp / Imperial Navy Slicer",
    ]


def test_what_has_no_name_shows_its_number_and_nothing_is_unknown(tmp_path: Path) -> None:
    bare = replace(shown({}), candidate=Candidate(MAIL, VICTIM, Sides(), Sides()))
    text = as_text(message(bare, config(tmp_path), ""))
    assert text.startswith("type 587 of \\#90000001 in system 30000142\n")
    assert "Unknown" not in text
    assert "Value" not in text


def test_an_npc_of_nobody_is_what_it_flies(tmp_path: Path) -> None:
    npc = Attacker(None, None, None, None, 17703, None, 900, True, 0.0)
    text = as_text(message(replace(shown(), final_blow=npc), config(tmp_path), ""))
    assert "Final blow: Imperial Navy Slicer\n" in text


def test_a_role_is_mentioned_from_its_value_on_and_never_in_a_test(tmp_path: Path) -> None:
    dear = config(tmp_path, mention_role="42", mention_min_value=1e9)
    body = message(shown(), dear, "")
    assert body["content"] == "<@&42>"
    assert body["allowed_mentions"] == {"parse": [], "roles": ["42"]}
    assert "content" not in message(shown(test=True), dear, "")
    assert "content" not in message(shown(), config(tmp_path, mention_role="42", mention_min_value=2e9), "")


def test_a_repeat_and_a_test_say_so(tmp_path: Path) -> None:
    footer = message(shown(again=True, test=True), config(tmp_path), "")["embeds"][0]["footer"]["text"]
    assert footer == (
        "Loss 128000001 · this is a test · sent again after a break, so it may stand above already"
    )


def test_discords_address_asks_for_the_answer_and_keeps_its_own_query(tmp_path: Path) -> None:
    made = request.discord(shown(), config(tmp_path), "")
    assert made.url == "https://discord.com/api/webhooks/1/token?thread_id=5&wait=true"
    assert "token" not in repr(made)


def test_a_signature_that_an_independent_library_verifies(tmp_path: Path) -> None:
    secret = secret_file(tmp_path / "secret", SECRET)
    signed = request.signed(
        shown(), config(tmp_path, "json", secret_file=str(secret)), {"id": "128000001"}, _now()
    )
    found = Webhook(SECRET).verify(signed.body, dict(signed.headers))
    assert found["id"] == signed.headers["webhook-id"] == "corp-128000001"
    assert (found["type"], found["webhook"]) == ("killmail.stored", "corp")
    assert found["data"] == {"id": "128000001"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(signed.body.replace(b"128000001", b"128000002"), dict(signed.headers))
    old = request.signed(shown(), config(tmp_path, "json", secret_file=str(secret)), {}, _now() - 600.0)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(old.body, dict(old.headers))


def test_two_secrets_sign_both_while_one_is_changed_for_the_other(tmp_path: Path) -> None:
    other = "whsec_" + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlcg=="
    secret = secret_file(tmp_path / "secret", f"{SECRET} {other}")
    signed = request.signed(shown(), config(tmp_path, "json", secret_file=str(secret)), {}, _now())
    for each in (SECRET, other):
        assert Webhook(each).verify(signed.body, dict(signed.headers))


def test_a_repeat_of_the_same_mail_has_the_same_body_and_id(tmp_path: Path) -> None:
    first, again = (
        request.signed(shown(again=each), config(tmp_path, "json"), {}, _now() + 300 * each)
        for each in (0, 1)
    )
    assert (first.body, first.headers["webhook-id"]) == (again.body, again.headers["webhook-id"])
    assert first.headers["webhook-timestamp"] != again.headers["webhook-timestamp"]


def test_a_secret_of_plain_text_is_its_bytes(tmp_path: Path) -> None:
    import base64

    secret = secret_file(tmp_path / "secret", "a plain secret of some length")
    signed = request.signed(shown(), config(tmp_path, "json", secret_file=str(secret)), {}, _now())
    encoded = base64.b64encode(b"a plain secret of some length").decode()
    assert Webhook(encoded).verify(signed.body, dict(signed.headers))


def _now() -> float:
    return datetime.now(UTC).timestamp()


def test_zkillboards_address(tmp_path: Path) -> None:
    document = {
        "sso": {"client_id": "x"},
        "esi": {"contact": "me@killsyncd.invalid"},
        "webhooks": [{"name": "a", "kind": "zkillboard", "zkillboard_delay": "8h"}],
    }
    agent = "agent (me@killsyncd.invalid)"
    made = request.published(shown(), from_mapping(document).webhooks[0], "https://zkillboard.com/api", agent)
    assert made.url == f"https://zkillboard.com/api/killmail/add/128000001/{'ab' * 20}/3/"
    assert made.headers["User-Agent"] == agent


def test_text() -> None:
    assert clean("  a \t b  ") == "a b"
    assert len(clean("x" * 300)) == 64
    assert cut("abcdef", 4) == "abc…"
    assert cut("a\\*b", 4) == "a\\*b"
    assert cut("ab\\*cd", 4) == "ab…"
    assert size(cut("𝕏" * 10, 7)) <= 7
    assert escaped("\u200b\u202e") == ""
    assert [isk(each) for each in (12, 980_000, 45_600_000, 1.234e9, 2.5e12, 0.01)] == [
        "12 ISK",
        "980 k ISK",
        "45.6 m ISK",
        "1.23 b ISK",
        "2.5 t ISK",
        "0 ISK",
    ]
    assert [isk(each) for each in (999.4, 999.6, 999_400, 999_600, 999.96e6, 1e12, 12_345.6e12)] == [
        "999 ISK",
        "1 k ISK",
        "999 k ISK",
        "1 m ISK",
        "1 b ISK",
        "1 t ISK",
        "12,346 t ISK",
    ]
