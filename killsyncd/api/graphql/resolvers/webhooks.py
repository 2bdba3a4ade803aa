"""Where killmails go, and how that goes."""

from __future__ import annotations

from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.roots import query
from killsyncd.service.webhook_reports import WebhookReport, WebhookStatus

webhook = ObjectType("Webhook")
verdict = ObjectType("WebhookVerdict")


@query.field("webhooks")
async def _webhooks(_: Any, info: Info) -> list[WebhookReport]:
    webhooks = context_of(info).services.webhooks
    return await webhooks.all() if webhooks is not None else []


plain(
    webhook,
    setAside="set_aside",
    leftOut="left_out",
    lastDeliveredAt="last_delivered_at",
    lastError="last_error",
    failingSince="failing_since",
    nextAttemptAt="next_attempt_at",
)
webhook.set_field("reason", lambda each, _info: each.reason or None)
webhook.set_field("remedy", lambda each, _info: each.remedy or None)
plain(verdict, killmailId="killmail_id", killmailTime="killmail_time")

BINDABLES = [webhook, verdict, EnumType("WebhookState", WebhookStatus)]
