"""Sources: the lists that killmails come from."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.context import Entity
from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.roots import query
from killsyncd.core.deployment import fit
from killsyncd.core.model import SourceKind, User
from killsyncd.core.read_model import Mail
from killsyncd.core.sources import SourceState, SourceView

source = ObjectType("Source")


@query.field("sources")
async def _sources(_: Any, info: Info, kind: SourceKind | None = None) -> list[SourceView]:
    return await context_of(info).services.operations.sources.all(kind)


def sources_of(mail: Mail, info: Info) -> Awaitable[list[SourceView]]:
    """Through which sources a mail came."""
    return context_of(info).loaders.sources.load(mail.killmail_id)


plain(
    source,
    kind="source.kind",
    stateReason="reason",
    lastSyncAt="last_sync_at",
    lastKillmailId="last_killmail_id",
    completeFrom="complete_from",
    completeTo="complete_to",
)
source.set_field("remedy", lambda each, _info: fit(each.remedy) if each.remedy else None)


@source.field("subject")
def _subject(each: SourceView, _info: Info) -> Entity:
    return Entity(each.source.subject_id, each.name)


@source.field("via")
async def _via(each: SourceView, info: Info) -> list[User]:
    users = {user.id: user for user in await context_of(info).users()}
    return [users[lender.user_id] for lender in each.via if lender.user_id in users]


BINDABLES = [source, EnumType("SourceKind", SourceKind), EnumType("SourceState", SourceState)]
