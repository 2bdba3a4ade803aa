"""Two daemons on one PostgreSQL and one RabbitMQ read a corporation's list as one, and either may be
killed."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiormq
import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, log_in, wait_for
from tests.support.own_servers import PrivatePostgres, PrivateRabbit
from tests.support.postgres_look import value

pytestmark = [pytest.mark.postgres, pytest.mark.amqp]

QUEUE = "esi_corporation_killmails_queue"


def two_daemons(
    folder: Path, eve: SimulatorProcess, postgres: PrivatePostgres, rabbit: PrivateRabbit
) -> list[DaemonProcess]:
    password = folder / "guest"
    password.write_text("guest")
    password.chmod(0o600)
    settings: dict[str, dict[str, Any]] = {
        "database": {"url": postgres.url},
        "queue": {"url": rabbit.url, "password_file": str(password)},
        "producer": {"interval": 3, "min_age": 1},
        "corporations": {"enabled": True},
        "security": {"key_file": str(folder / "shared.key")},
    }
    return [DaemonProcess(folder / f"daemon{n}", eve.base_url, settings=settings) for n in range(2)]


async def send(url: str, *messages: dict[str, Any]) -> None:
    """Messages as the reference's producers wrote them."""
    connection = await aiormq.connect(url.replace("guest@", "guest:guest@"))
    channel = await connection.channel()
    for message in messages:
        properties = aiormq.spec.Basic.Properties(delivery_mode=2, priority=5)
        await channel.basic_publish(json.dumps(message).encode(), routing_key=QUEUE, properties=properties)
    await connection.close()


def old_message(corporation: int, director: int) -> dict[str, Any]:
    """Of the reference's corporation queue, tokens and all."""
    return {
        "userId": 1,
        "characterId": director,
        "characterName": "John Doe",
        "corporationId": corporation,
        "corporationName": "Byron Works",
        "accessToken": "canary-access",
        "refreshToken": "canary-refresh",
        "expiresAt": "2026-01-06T15:30:00.000Z",
        "queuedAt": "2099-01-06T14:30:00.000Z",
        "lastKillmailId": 5,
    }


@pytest.mark.timeout(300)
def test_one_list_a_corporation_whoever_of_the_daemons_falls(
    tmp_path: Path, postgres: PrivatePostgres, rabbit: PrivateRabbit
) -> None:
    """The simulator counts it as a breach where anybody asks for a corporation's list before its Expires."""
    words = ["--pilots", "12", "--history", "20", "--pilots-per-corporation", "12", "--cache", "3"]
    with SimulatorProcess(*words) as eve:
        pilots = eve.pilots()
        corporation = pilots[0]["corporation_id"]
        directors = [pilots[0]["character_id"], pilots[1]["character_id"]]
        eve.director(directors[1])
        first, second = daemons = two_daemons(tmp_path, eve, postgres, rabbit)
        try:
            for number, daemon in enumerate(daemons):
                daemon.start()
                log_in(daemon.url, eve.base_url, directors[number])
            log_in(first.url, eve.base_url, pilots[2]["character_id"])

            def wait_home() -> None:
                wanted = sorted(each["killmail_id"] for each in eve.corporation_mails(corporation))
                wait_for(
                    lambda: (
                        value(
                            postgres.url,
                            "SELECT count(*) FROM killmails WHERE killmail_id = ANY(ARRAY"
                            f"[{','.join(map(str, wanted))}]::bigint[])",
                        )
                        == len(wanted)
                    ),
                    90.0,
                    lambda: "\n".join(each.tail(15) for each in daemons),
                    every=0.3,
                )

            wait_home()
            members = [each["character_id"] for each in pilots[3:]]
            for victim in (first, second):
                victim.kill()
                eve.add_mails(1, members)
                wait_home()  # by the other one alone
                victim.start()
            told = first.graphql("{ workerStatus { queueName consumerCount } }")["workerStatus"]
            assert [each["queueName"] for each in told] == ["esi_user_killmails_queue", QUEUE]
            before = eve.counters()["lists"][str(corporation)]
            asyncio.run(send(rabbit.url, old_message(corporation, directors[0]), old_message(98_000_404, 7)))
            wait_for(lambda: eve.counters()["lists"][str(corporation)] > before, 30.0)
            sources = "SELECT count(*) FROM sources WHERE kind = 'corporation'"
            assert value(postgres.url, sources) == 1
            assert value(postgres.url, "SELECT count(*) FROM users") == 3
            counted = eve.counters()
            assert set(counted["refusals"].values()) <= {1}
            assert eve.breaches() == []
            wait_home()
        finally:
            for daemon in daemons:
                daemon.stop(signal.SIGKILL)
