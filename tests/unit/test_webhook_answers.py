"""What answers of Discord, of receivers and of zKillboard mean."""

from __future__ import annotations

import random

import pytest

from killsyncd.webhooks.answers import STOPPED_AGAIN, Answer, back_off, outcome_of


def read(kind: str, status: int, body: bytes = b"", **headers: str) -> tuple[str, float]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = outcome_of(kind, Answer(status, named, body))
    return found.verdict, found.wait


@pytest.mark.parametrize(
    ("kind", "status", "verdict"),
    [
        ("discord", 200, "delivered"),
        ("discord", 204, "delivered"),
        ("discord", 400, "refused"),
        ("discord", 401, "stopped"),
        ("discord", 404, "stopped"),
        ("discord", 500, "failed"),
        ("json", 202, "delivered"),
        ("json", 301, "stopped"),
        ("json", 400, "refused"),
        ("json", 404, "stopped"),
        ("json", 409, "failed"),
        ("json", 503, "failed"),
        ("zkillboard", 200, "delivered"),
        ("zkillboard", 401, "wait"),
        ("zkillboard", 408, "failed"),
        ("zkillboard", 422, "refused"),
        ("zkillboard", 503, "failed"),
    ],
)
def test_status(kind: str, status: int, verdict: str) -> None:
    assert read(kind, status)[0] == verdict


def test_waiting_as_told() -> None:
    assert read("discord", 429) == ("wait", 5.0)
    assert read("discord", 429, b"no json", Retry_After="3") == ("wait", 3.0)
    assert read("discord", 429, b'{"retry_after": 12.5}', Retry_After="3") == ("wait", 12.5)
    assert read("discord", 429, b'{"retry_after": true}', Retry_After="soon") == ("wait", 5.0)
    assert read("discord", 429, b'{"retry_after": 1e400}') == ("wait", 5.0)
    assert read("discord", 429, b"{}", Retry_After="1e9") == ("wait", 86_400.0)
    everybody = outcome_of("discord", Answer(429, {}, b'{"retry_after": 1, "global": true}'))
    assert everybody.everybody
    shared = outcome_of("discord", Answer(429, {"X-RateLimit-Scope": "shared"}, b"{}"))
    assert (shared.everybody, shared.channel_wide) == (False, True)
    own = outcome_of("discord", Answer(429, {"X-RateLimit-Scope": "user"}, b'{"retry_after": 1}'))
    assert (own.channel_wide, own.untold) == (False, False)
    assert outcome_of("discord", Answer(429, {}, b'{"retry_after": 1}')).channel_wide
    assert outcome_of("json", Answer(429)).untold
    assert not outcome_of("json", Answer(429)).channel_wide
    assert read("zkillboard", 401) == ("wait", 86_400.0)


def test_the_last_request_of_a_window_says_how_long_to_wait() -> None:
    body = b'{"id": "123", "channel_id": "9"}'
    found = outcome_of(
        "discord", Answer(200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.5"}, body)
    )
    assert (found.message_id, found.channel, found.wait) == ("123", "9", 1.5)
    found = outcome_of(
        "discord", Answer(200, {"X-RateLimit-Remaining": "4", "X-RateLimit-Reset-After": "1.5"}, body)
    )
    assert found.wait == 0.0
    odd = outcome_of("discord", Answer(200, {}, b'{"id": {"a": 1}, "channel_id": "x"}'))
    assert (odd.verdict, odd.message_id, odd.channel) == ("delivered", None, None)


def test_what_may_pass_is_asked_once_more_and_what_is_gone_is_not() -> None:
    gone = b'{"message": "Unknown Webhook", "code": 10015}'
    assert read("discord", 404, gone) == ("stopped", 0.0)
    assert read("discord", 401, b'{"message": "Invalid Webhook Token", "code": 50027}') == ("stopped", 0.0)
    assert read("json", 410) == ("stopped", 0.0)
    for kind, status, body in (
        ("discord", 404, b"<html>proxy</html>"),
        ("discord", 403, b'{"code": 10015}'),
        ("discord", 401, b"{}"),
        ("json", 404, gone),
        ("json", 308, b""),
    ):
        assert read(kind, status, body) == ("stopped", STOPPED_AGAIN)


def test_any_answer_of_discord_may_say_that_no_more_is_taken() -> None:
    empty = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset_After": "1.5"}
    assert read("discord", 400, **empty) == ("refused", 1.5)
    assert read("discord", 500, **empty) == ("failed", 1.5)
    assert read("json", 400, **empty) == ("refused", 0.0)


def test_one_that_is_down_may_say_for_how_long() -> None:
    assert read("json", 503, Retry_After="120") == ("failed", 120.0)
    assert read("zkillboard", 503, Retry_After="120") == ("failed", 120.0)
    assert read("json", 503, Retry_After="soon") == ("failed", 0.0)


def test_zkillboard_takes_a_mail_only_where_it_says_so() -> None:
    assert read("zkillboard", 200, b'{"status": "success"}')[0] == "delivered"
    assert read("zkillboard", 200)[0] == "delivered"
    assert read("zkillboard", 200, b'{"status": "error"}')[0] == "failed"
    assert read("zkillboard", 404)[0] == "failed"


def test_what_may_have_arrived_is_in_doubt() -> None:
    assert outcome_of("discord", Answer(error="no answer in 25 s", lost=True)).doubtful
    assert not outcome_of("discord", Answer(error="no connection: refused")).doubtful
    assert outcome_of("discord", Answer(500)).doubtful
    assert outcome_of("zkillboard", Answer(408)).doubtful


def test_words_of_the_other_side_are_short_and_plain() -> None:
    said = outcome_of("discord", Answer(404, {}, b'{"message": "Unknown Webhook"}')).reason
    assert said == "Discord answers 404 (Unknown Webhook)"
    # What stands in for Discord may repeat the address.
    for message in (
        "Unknown Webhook\\n<script>",
        "Route POST:/api/webhooks/1/very-secret not found",
        "a" * 60,
    ):
        body = b'{"message": "%s"}' % message.encode()
        assert outcome_of("discord", Answer(404, {}, body)).reason == "Discord answers 404"
    assert (
        outcome_of("json", Answer(400, {}, b'{"message": "https://secret"}')).reason
        == "the receiver answers 400"
    )


def test_pauses_grow_to_an_hour() -> None:
    rng = random.Random(1)
    pauses = [back_off(each, rng) for each in range(40)]
    assert 4.0 <= pauses[0] <= 5.0
    assert all(2880.0 <= each <= 3600.0 for each in pauses[12:])
