"""Whether it syncs, and if not, why."""

from __future__ import annotations

from typing import Any

from ariadne import ObjectType

from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.roots import query, subscription
from killsyncd.core.clock import utc
from killsyncd.core.deployment import fit
from killsyncd.service import StatusReport, problem_kinds

queue_status = ObjectType("QueueStatus")
status = ObjectType("Status")
waiting = ObjectType("Waiting")
problem = ObjectType("Problem")


@query.field("workerStatus")
async def _worker_status(_: Any, info: Info) -> list[StatusReport]:
    return (await context_of(info).status()).by_queue()


@query.field("status")
async def _status(_: Any, info: Info) -> StatusReport:
    return await context_of(info).status()


@subscription.field("workerStatusUpdates")
def _worker_status_updates(event: Any, _info: Info) -> Any:
    return event


plain(queue_status, queueName="queue.name", messageCount="queue.messages", consumerCount="consumers")


@queue_status.field("byPriority")
def _by_priority(report: StatusReport, _info: Info) -> list[dict[str, int]]:
    return [
        {"priority": priority, "count": count}
        for priority, count in sorted(report.queue.by_priority.items(), reverse=True)
    ]


plain(
    status,
    syncing="syncing",
    problems="problems",
    feedCursor="feed_cursor",
    pendingDetails="pending_details",
    quarantined="quarantined",
    oldestPendingAt="oldest_pending_at",
    waiting="waiting",
    pendingEta="pending_eta",
    lastProducerRun="last_producer_run",
    nextProducerRun="next_producer_run",
    lastProducerQueued="last_producer_queued",
    producerRunning="producer_running",
    producerEnabled="producer_enabled",
    downtime="downtime",
    version="version",
    startedAt="started_at",
)


@status.field("budgets")
def _budgets(report: StatusReport, _info: Info) -> list[dict[str, Any]]:
    return [
        {
            "group": each.group,
            "characterId": each.character_id,
            "limit": each.limit,
            "remaining": each.remaining,
            "windowSeconds": round(each.window_seconds),
            "nextTokensAt": each.next_tokens_at,
        }
        for each in report.budgets
    ]


plain(waiting, characterId="character_id", characterName="character_name")


@status.field("usersByState")
def _users_by_state(report: StatusReport, _info: Info) -> list[dict[str, Any]]:
    return [{"state": state, "count": count} for state, count in report.users_by_state.items()]


plain(problem, characterId="character_id")
problem.set_field("since", lambda each, _info: utc(each.since))
problem.set_field("remedy", lambda each, _info: fit(each.remedy))
problem.set_field("reason", lambda each, _info: fit(each.reason))
problem.set_field("stops", lambda each, _info: problem_kinds.stops(each))

BINDABLES = [queue_status, status, waiting, problem]
