"""What is measured of the database, and the metrics that come of it, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events
from killsyncd.core.model import PRIORITY_LOGIN, DetailsWait, Origin, UserState
from killsyncd.metrics import LoopLag, Metrics, MetricSources, collector
from killsyncd.service import Budget, StatusReport
from killsyncd.service.health import Health
from killsyncd.service.measures import Measures
from killsyncd.service.operations import Operations
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.problem_kinds import CODES
from killsyncd.service.status import OperationsSettings
from killsyncd.storage.repositories.metrics import MetricsRepository
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from tests.support.storage_world import StorageWorld


@dataclass
class Stats:
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    in_flight: int = 2


@dataclass
class PlayedEsi:
    """ESI's door, as far as metrics and status look at it."""

    stats: Stats = field(default_factory=Stats)
    clock_offset: float = 0.25

    async def budgets(self) -> list[Budget]:
        return [
            Budget("killmail", None, 3600, 3590, 900, None),
            Budget("char-killmail", 90000001, 30, 28, 900, None),
            Budget("char-killmail", 90000002, 30, 5, 900, None),
        ]

    async def eta(self, details: int) -> float:
        return details / 2

    def downtime(self) -> bool:
        return False

    def details_wait(self) -> DetailsWait | None:
        return None


@dataclass
class Tasks:
    jobs_done: int = 7
    jobs_failed: int = 1
    stored: int = 40
    failed: int = 3
    quarantined: int = 2
    waited: float = 12.5


def operations_of(world: StorageWorld, esi: PlayedEsi) -> Operations:
    return Operations(
        OperationsStorage(
            rows=StatusRepository(world.store),
            users=world.users,
            sources=SourceRepository(world.store),
            ledger=world.ledger,
            names=NameRepository(world.store),
            queue=world.wants,
        ),
        OperationsSettings(
            skip_within=900.0,
            producer_enabled=True,
            version="1.2.3",
            started_at=world.timed.clock.now() - 60.0,
        ),
        Events(),
        Health(world.timed.clock),
        world.timed.clock,
        esi=esi,
    )


def metrics_of(
    world: StorageWorld, esi: PlayedEsi, *, database: Path | None = None, **changes: object
) -> Metrics:
    tasks = Tasks()
    parts: dict[str, object] = {
        "operations": operations_of(world, esi),
        "rows": MetricsRepository(world.store),
        "esi": esi,
        "consumer": tasks,
        "fetcher": tasks,
        "lag": LoopLag(world.timed.clock),
        "transactions": world.store.counts.by_kind,
    }
    sources = MetricSources(**{**parts, **changes})  # type: ignore[arg-type]
    clock = world.timed.clock
    return Metrics(sources, clock, started_at=clock.now() - 60.0, database=database, version="1.2.3")


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Mapping[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


class TestMeasuring:
    async def test_an_empty_database_is_all_zeros(self, world: StorageWorld) -> None:
        found = await MetricsRepository(world.store).measure()
        assert (found.jobs, found.oldest_job_at, list(found.readable_since)) == ({}, None, [])
        assert (found.feed_position, found.last_backup_at) == (0, None)
        assert found.size_bytes
        assert found.now == pytest.approx(await world.now(), abs=5.0)

    async def test_jobs_are_told_by_what_they_wait_for(self, world: StorageWorld) -> None:
        pilots = [await world.pilot(90000001 + each) for each in range(4)]
        now = await world.now()
        await world.want(pilots[0])
        await world.want(pilots[1], priority=PRIORITY_LOGIN, origin=Origin.LOGIN, not_before=now + 100.0)
        await world.job(pilots[2])
        await world.want(pilots[3])
        await world.users.pause(pilots[3].user_id, paused=True)
        await world.timed.pass_time(30.0)
        found = await MetricsRepository(world.store).measure()
        assert found.jobs == {("waiting", 3): 1, ("postponed", 8): 1, ("working", 3): 1, ("held", 3): 1}
        assert found.oldest_job_at is not None
        assert found.now - found.oldest_job_at == pytest.approx(30.0, abs=5.0)

    async def test_a_list_can_be_newer_once_it_expired(self, world: StorageWorld) -> None:
        read, _, gone = [await world.pilot(90000001 + each) for each in range(3)]
        await world.listed(read, 1, 2)
        await world.users.mark(gone.user_id, UserState.NEEDS_LOGIN, "the login has ended")
        await world.timed.pass_time(400.0)
        found = await MetricsRepository(world.store).measure()
        # `listed` writes a page that expires after 300 s; the second waits since its login.
        waits = sorted(found.now - each for each in found.readable_since)
        assert waits == [pytest.approx(100.0, abs=5.0), pytest.approx(400.0, abs=5.0)]

    async def test_access_tokens_by_state(self, world: StorageWorld) -> None:
        await world.pilot(90000001)
        assert (await MetricsRepository(world.store).measure()).access_tokens == {"valid": 1}
        await world.timed.pass_time(1000.0)
        assert (await MetricsRepository(world.store).measure()).access_tokens == {"due": 1}
        await world.timed.pass_time(1000.0)
        assert (await MetricsRepository(world.store).measure()).access_tokens == {"expired": 1}
        (user,) = await world.users.all()
        await world.users.mark(user.id, UserState.SCOPE_MISSING, "nobody needs that token")
        assert (await MetricsRepository(world.store).measure()).access_tokens == {"none": 1}


class TestMetrics:
    async def test_figures_are_those_of_the_database(self, world: StorageWorld) -> None:
        one, two = [await world.pilot(90000001 + each) for each in range(2)]
        await world.listed(one, 1, 2, 3)
        await world.store_mails(1)
        await world.want(two)
        await world.timed.pass_time(400.0)
        await MetricsRepository(world.store).backed_up(1795000000.5)
        found = samples(await metrics_of(world, PlayedEsi()).render())
        assert value(found, "killsyncd_syncing") == 1
        assert value(found, "killsyncd_database_up") == 1
        assert value(found, "killsyncd_refs", state="pending") == 2
        assert value(found, "killsyncd_feed_position") == 1
        assert value(found, "killsyncd_users", state="ok") == 2
        assert value(found, "killsyncd_jobs", state="waiting", priority="3") == 1
        assert value(found, "killsyncd_jobs", state="waiting", priority="8") == 0
        assert value(found, "killsyncd_oldest_job_age_seconds") == pytest.approx(400.0, abs=5.0)
        assert value(found, "killsyncd_sync_lag_seconds", quantile="1") == pytest.approx(400.0, abs=5.0)
        assert value(found, "killsyncd_esi_tokens_remaining", group="char-killmail") == 5
        assert value(found, "killsyncd_esi_tokens_limit", group="killmail") == 3600
        assert value(found, "killsyncd_last_backup_timestamp_seconds") == 1795000000.5
        assert value(found, "killsyncd_killmails_stored_total") == 40
        assert value(found, "killsyncd_jobs_finished_total", result="failed") == 1
        assert {code for name, labels in found if name == "killsyncd_problems" for _, code in labels} == set(
            CODES
        )

    async def test_no_character_is_in_them(self, world: StorageWorld) -> None:
        await world.listed(await world.pilot(90000001, "John Doe"), 1, 2)
        text = await metrics_of(world, PlayedEsi()).render()
        assert b"90000001" not in text
        assert b"John Doe" not in text

    async def test_requests_are_counted_by_group_and_ending(self, world: StorageWorld) -> None:
        esi = PlayedEsi()
        esi.stats.requests.update({("killmail", "2xx"): 5, ("killmail", "429"): 1})
        esi.stats.refused.update({(f"group-{each}", "limit"): 1 for each in range(30)})
        found = samples(await metrics_of(world, esi).render())
        assert value(found, "killsyncd_esi_requests_total", group="killmail", status="2xx") == 5
        assert value(found, "killsyncd_esi_withheld_total", group="other", reason="limit") == 10
        assert value(found, "killsyncd_esi_budget_wait_seconds_total") == 12.5

    async def test_an_answer_serves_for_a_second(self, world: StorageWorld) -> None:
        asked = []

        class Counted:
            async def status(self) -> StatusReport:
                asked.append(None)
                return await operations_of(world, PlayedEsi()).status()

        metrics = metrics_of(world, PlayedEsi(), operations=Counted())
        assert await metrics.render() == await metrics.render()
        assert len(asked) == 1

    async def test_a_database_that_is_away_takes_nothing_else_along(self, world: StorageWorld) -> None:
        class Away:
            async def status(self) -> StatusReport:
                raise Unavailable("the database does not answer")

        found = samples(await metrics_of(world, PlayedEsi(), operations=Away()).render())
        assert value(found, "killsyncd_database_up") == 0
        assert value(found, "killsyncd_killmails_stored_total") == 40
        assert ("killsyncd_syncing", ()) not in found


class Silent:
    """A database that takes questions and answers none."""

    async def measure(self) -> Measures:
        await asyncio.Event().wait()
        raise AssertionError("it never answers")


async def test_a_database_that_goes_silent_does_not_hold_a_scrape(
    world: StorageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "DATABASE_SECONDS", 0.05)
    async with asyncio.timeout(20):
        found = samples(await metrics_of(world, PlayedEsi(), rows=Silent()).render())
    assert value(found, "killsyncd_database_up") == 0
    assert ("killsyncd_killmails_stored_total", ()) in found
