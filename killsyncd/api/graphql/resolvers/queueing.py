"""Asking for syncs, of pilots' own lists and of corporations'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.inputs import ids_of
from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.roots import mutation
from killsyncd.core.deployment import fit
from killsyncd.core.errors import NotFound, Unavailable
from killsyncd.core.model import Queued, SourceKind, SyncMode, User
from killsyncd.core.sources import SourceView

queued_sync = ObjectType("QueuedSync")


@dataclass(frozen=True, slots=True)
class QueuedList:
    """A corporation's list that was asked for, in the place of a user's own one."""

    user: User
    source: SourceView
    mode: SyncMode | None
    queued: bool
    reason: str | None
    plain_at: datetime | None
    list_at: datetime | None


@mutation.field("queueKillmailSync")
async def _queue(
    _: Any,
    info: Info,
    characterIds: list[str] | None = None,
    corporationIds: list[str] | None = None,
    force: bool | None = False,
    full: bool | None = False,
) -> list[Queued | QueuedList]:
    limits = context_of(info).services.limits
    pilots = None if characterIds is None else ids_of(characterIds, "characterIds", limits)
    lists = None if corporationIds is None else ids_of(corporationIds, "corporationIds", limits)
    done: list[Queued | QueuedList] = []
    if lists is not None:  # where one is unknown, nobody is queued
        done += await _lists(info, lists, force=bool(force), full=bool(full))
    if pilots is not None or lists is None:
        done[:0] = await _pilots(info, pilots, force=bool(force), full=bool(full))
    return done


async def _pilots(info: Info, chosen: Sequence[int] | None, *, force: bool, full: bool) -> Sequence[Queued]:
    services = context_of(info).services
    selectors: list[str] | None = None
    if chosen is not None:
        known = await services.reading.users(chosen)
        for each in chosen:
            if each not in known:
                raise NotFound(f"character {each} never logged in", "users lists everybody who did")
        selectors = [str(each) for each in chosen]
    return await services.operations.queue(selectors, force=force, full=full)


async def _lists(info: Info, chosen: Sequence[int], *, force: bool, full: bool) -> list[QueuedList]:
    """Raises NotFound, and Unavailable where nobody lends a token to one of them."""
    context = context_of(info)
    sources = context.services.operations.sources
    known = {each.source.subject_id: each for each in await sources.all(SourceKind.CORPORATION)}
    for each in chosen:
        if each not in known:
            raise NotFound(f"there is no list of corporation {each}", "sources lists those there are")
        if not known[each].via:
            view = known[each]
            raise Unavailable(f"{view.label}: {view.reason or 'nobody lends a token'}", view.remedy or "")
    users = {user.id: user for user in await context.users()}
    done = []
    for row in await sources.queue(list(map(str, chosen)), force=force, full=full) if chosen else []:
        view = known[row.source.subject_id]
        if (lender := users.get(view.via[0].user_id)) is not None:
            done.append(QueuedList(lender, view, row.mode, row.queued, row.reason, row.plain_at, row.list_at))
    return done


plain(queued_sync, plainAt="plain_at", listAt="list_at")
queued_sync.set_field("reason", lambda each, _info: fit(each.reason) if each.reason else None)
queued_sync.set_field("source", lambda each, _info: getattr(each, "source", None))

BINDABLES = [queued_sync, EnumType("SyncMode", SyncMode)]
