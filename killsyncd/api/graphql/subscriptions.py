"""Where subscriptions get their events from: arguments in, a stream of events out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from graphql import GraphQLResolveInfo

from killsyncd.api.graphql.context import ApiServices
from killsyncd.api.graphql.feed import FeedHub
from killsyncd.api.graphql.inputs import optional_ids
from killsyncd.api.graphql.resolvers.roots import subscription
from killsyncd.api.graphql.shared_results import Event
from killsyncd.api.graphql.status_feed import StatusHub


@dataclass(frozen=True, slots=True)
class SubscriptionContext:
    """What subscribing needs; given as context when a stream is made, not when events are shown."""

    services: ApiServices
    feed: FeedHub
    status: StatusHub


async def _new_killmail(
    _: Any,
    info: GraphQLResolveInfo[SubscriptionContext],
    after: str | None = None,
    characterIds: list[str] | None = None,
    freshOnly: bool | None = False,
) -> AsyncIterator[Event]:
    live = info.context
    characters = optional_ids(characterIds, live.services.limits)
    position = await live.feed.begin(after)
    return live.feed.follow(position, characters, bool(freshOnly))


def _worker_status_updates(_: Any, info: GraphQLResolveInfo[SubscriptionContext]) -> AsyncIterator[Event]:
    return info.context.status.follow()


# Ariadne's types know generators alone; a coroutine that ends in one is fine with graphql-core.
subscription.set_source("newKillmail", cast(Any, _new_killmail))
subscription.set_source("workerStatusUpdates", cast(Any, _worker_status_updates))
