"""Families from what the database knows: the status report, and measures that only the metrics ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from killsyncd.core.model import PRIORITY_LOGIN, PRIORITY_MANUAL, PRIORITY_PRODUCER, UserState
from killsyncd.core.sources import SourceState
from killsyncd.service import Budget, StatusReport
from killsyncd.service.measures import Measures
from killsyncd.service.problem_kinds import CODES

JOB_STATES = ("waiting", "postponed", "working", "held")
PRIORITIES = (PRIORITY_PRODUCER, PRIORITY_MANUAL, PRIORITY_LOGIN)
TOKEN_STATES = ("valid", "due", "expired", "none")
QUANTILES = (0.5, 0.95, 1.0)


def of_report(report: StatusReport) -> Iterator[Metric]:
    """What `ctl status` says, as numbers."""
    yield _gauge("killsyncd_syncing", "1 while nothing stops the sync as a whole.", report.syncing)
    yield _gauge(
        "killsyncd_downtime",
        "1 while EVE or ESI is down, and nothing but its status is asked.",
        report.downtime,
    )
    problems = GaugeMetricFamily(
        "killsyncd_problems",
        "Problems there are, by code: see killsyncd ctl status, and docs/troubleshooting.md.",
        labels=["code"],
    )
    counts = Counter(problem.code for problem in report.problems)
    for code in [*CODES, *(each for each in counts if each not in CODES)]:
        problems.add_metric([code], counts[code])
    yield problems
    yield _gauge(
        "killsyncd_queue_messages",
        "Jobs waiting in the queues.",
        sum(each.messages for each in report.queues),
    )
    yield _gauge(
        "killsyncd_queue_consumers", "Daemons that work the queue, 0 while paused.", report.consumers
    )
    yield from _pending(report)
    users = GaugeMetricFamily("killsyncd_users", "Pilots by state.", labels=["state"])
    for state in UserState:
        users.add_metric([state.value], report.users_by_state.get(state, 0))
    yield users
    yield from _moment(
        "killsyncd_producer_last_run_timestamp_seconds",
        "When the producer last ran, on whichever daemon.",
        report.last_producer_run,
    )
    yield from _moment(
        "killsyncd_producer_next_run_timestamp_seconds",
        "When the producer runs next; absent while it is paused or off.",
        report.next_producer_run,
    )
    yield from _budgets(report.budgets)


def _pending(report: StatusReport) -> Iterator[Metric]:
    """Killmails that were listed and are not stored: how many, since when, for how long yet."""
    refs = GaugeMetricFamily(
        "killsyncd_refs", "Killmails that were listed and are not stored.", labels=["state"]
    )
    refs.add_metric(["pending"], report.pending_details)
    refs.add_metric(["quarantined"], report.quarantined)
    yield refs
    oldest = 0.0
    if report.oldest_pending_at is not None:
        oldest = max(
            0.0, report.started_at.timestamp() + report.uptime - report.oldest_pending_at.timestamp()
        )
    yield _gauge(
        "killsyncd_oldest_pending_age_seconds",
        "For how long the oldest killmail that is pending has been listed; 0 without one.",
        oldest,
    )
    if report.pending_eta is not None:
        yield _gauge(
            "killsyncd_pending_eta_seconds",
            "Time that ESI's budget needs for what is pending.",
            report.pending_eta,
        )


def _corporations(measures: Measures) -> Metric:
    found = GaugeMetricFamily("killsyncd_corporations", "Corporations' lists by state.", labels=["state"])
    for state in SourceState:
        found.add_metric([state.value], measures.corporations.get(state.value, 0))
    return found


def of_measures(measures: Measures) -> Iterator[Metric]:
    """Counts and ages."""
    now = measures.now
    jobs = GaugeMetricFamily("killsyncd_jobs", "Jobs by state and priority.", labels=["state", "priority"])
    priorities = sorted({*PRIORITIES, *(priority for _, priority in measures.jobs)})
    for state in JOB_STATES:
        for priority in priorities:
            jobs.add_metric([state, str(priority)], measures.jobs.get((state, priority), 0))
    yield jobs
    yield _corporations(measures)
    oldest = now if measures.oldest_job_at is None else measures.oldest_job_at
    yield _gauge(
        "killsyncd_oldest_job_age_seconds",
        "For how long the longest waiting job could have been taken; 0 without one.",
        max(0.0, now - oldest),
    )
    yield _lag(
        "killsyncd_sync_lag_seconds",
        "For how long ESI may have had a newer list than the one that was read, over pilots that can be "
        "synced; quantile 1 is the pilot who waits longest.",
        now,
        measures.readable_since,
    )
    yield _lag(
        "killsyncd_corporation_sync_lag_seconds",
        "The same over corporations' lists that somebody reads.",
        now,
        measures.corporations_readable_since,
    )
    tokens = GaugeMetricFamily("killsyncd_access_tokens", "Access tokens by state.", labels=["state"])
    for state in TOKEN_STATES:
        tokens.add_metric([state], measures.access_tokens.get(state, 0))
    yield tokens
    yield _gauge("killsyncd_feed_position", "Killmails that the feed ever numbered.", measures.feed_position)
    yield from _worth(measures)
    yield from _kept_up_to_date(measures)
    if measures.last_backup_at is not None:
        yield _gauge(
            "killsyncd_last_backup_timestamp_seconds",
            "When a backup was last finished; absent where none was ever made.",
            measures.last_backup_at,
        )
    if measures.size_bytes is not None:
        yield _gauge("killsyncd_database_size_bytes", "Size of the database.", measures.size_bytes)


def _worth(measures: Measures) -> Iterator[Metric]:
    """How far killmails are valued, and what those of a day were worth."""
    yield _gauge(
        "killsyncd_valued_position",
        "Up to which position of the feed killmails were valued.",
        measures.valued_position,
    )
    fights = GaugeMetricFamily(
        "killsyncd_last_day_killmails", "Kills and losses of our pilots within 24 hours.", labels=["side"]
    )
    isk = GaugeMetricFamily(
        "killsyncd_last_day_isk", "What these were worth, as far as they are valued.", labels=["side"]
    )
    for side, (number, worth) in measures.last_day.items():
        fights.add_metric([side], number)
        isk.add_metric([side], worth)
    yield fights
    yield isk


def _kept_up_to_date(measures: Measures) -> Iterator[Metric]:
    """Static data, and how old it and prices are."""
    yield _gauge(
        "killsyncd_static_data_build", "CCP's build of the static data, 0 for none.", measures.static_build
    )
    unknown = GaugeMetricFamily(
        "killsyncd_static_data_unknown",
        "What stored killmails name and the static data do not know (yet).",
        labels=["kind"],
    )
    for kind, number in measures.static_unknown.items():
        unknown.add_metric([kind], number)
    yield unknown
    ages = GaugeMetricFamily(
        "killsyncd_background_age_seconds",
        "How long ago static data, prices and market history were last found to be up to date.",
        labels=["task"],
    )
    for name, age in measures.task_ages.items():
        ages.add_metric([name], age)
    yield ages


def of_webhooks(counts: Mapping[tuple[str, str], int], waiting: Mapping[str, int] | None) -> Iterator[Metric]:
    """Webhooks by name, which the configuration bounds."""
    requests = CounterMetricFamily(
        "killsyncd_webhook_requests",
        "Requests of webhooks by what came of them: `delivered`, `refused` (this mail for good), `stopped` "
        "(everything), `wait` (429) or `failed`.",
        labels=["webhook", "outcome"],
    )
    for (name, outcome), count in sorted(counts.items()):
        requests.add_metric([name, outcome], count)
    yield requests
    if waiting is not None:
        family = GaugeMetricFamily(
            "killsyncd_webhook_waiting",
            "Killmails of the feed that a webhook has not settled yet.",
            labels=["webhook"],
        )
        for name, count in sorted(waiting.items()):
            family.add_metric([name], count)
        yield family


def of_zkillboard(requests: Mapping[tuple[str, str], int]) -> Metric:
    """Requests to zKillboard."""
    family = CounterMetricFamily(
        "killsyncd_zkillboard_requests",
        "Requests to zKillboard, for `lists` or its `stream`, by status; `failed`: no answer.",
        labels=["kind", "status"],
    )
    for (kind, status), count in sorted(requests.items()):
        family.add_metric([kind, status], count)
    return family


def _lag(name: str, text: str, now: float, readable_since: Sequence[float]) -> GaugeMetricFamily:
    """Now minus the newest possible."""
    family = GaugeMetricFamily(name, text, labels=["quantile"])
    lags = sorted(max(0.0, now - each) for each in readable_since)
    for quantile in QUANTILES:
        index = min(len(lags) - 1, int(quantile * len(lags)))
        family.add_metric([f"{quantile:g}"], lags[index] if lags else 0.0)
    return family


def _budgets(budgets: Sequence[Budget]) -> Iterator[Metric]:
    """The tightest bucket of each group: a label for every character would have no bound."""
    tightest: dict[str, Budget] = {}
    for each in budgets:
        known = tightest.get(each.group)
        if known is None or each.remaining < known.remaining:
            tightest[each.group] = each
    remaining = GaugeMetricFamily(
        "killsyncd_esi_tokens_remaining",
        "Tokens left in the group's floating window; where each pilot has one, the emptiest.",
        labels=["group"],
    )
    limit = GaugeMetricFamily("killsyncd_esi_tokens_limit", "Tokens of a full window.", labels=["group"])
    # A handful of groups; should ESI's headers ever make more of them, the emptiest are shown.
    for group in sorted(tightest, key=lambda each: tightest[each].remaining)[:20]:
        remaining.add_metric([group], tightest[group].remaining)
        limit.add_metric([group], tightest[group].limit)
    yield remaining
    yield limit


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _moment(name: str, text: str, moment: datetime | None) -> Iterator[Metric]:
    if moment is not None:
        yield _gauge(name, text, moment.timestamp())
