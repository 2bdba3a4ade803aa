"""Pilots, their logins and their syncs."""

from __future__ import annotations

from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.context import Connection
from killsyncd.api.graphql.inputs import first_of, id_of
from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.roots import mutation, query
from killsyncd.auth.login import PendingLogin
from killsyncd.auth.login_state import LoginOrigin, LoginReturn
from killsyncd.core.deployment import fit
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import User, UserState
from killsyncd.service import LoginEnded, remedy_of

auth_payload = ObjectType("AuthPayload")
user = ObjectType("User")


@query.field("users")
async def _users(_: Any, info: Info) -> list[User]:
    return await context_of(info).users()


@query.field("user")
async def _user(_: Any, info: Info, characterId: str) -> User | None:
    character_id = id_of(characterId, "characterId")
    return (await context_of(info).services.reading.users([character_id])).get(character_id)


@mutation.field("login")
async def _login(_: Any, info: Info) -> PendingLogin:
    return await context_of(info).services.operations.begin_login(LoginOrigin.GRAPHQL)


@mutation.field("authenticateWithCode")
async def _authenticate(_: Any, info: Info, code: str, state: str) -> LoginEnded:
    ended = await context_of(info).services.operations.finish_login(
        LoginReturn.GRAPHQL, {"code": code, "state": state}
    )
    if ended.user is None:
        raise Unavailable("the user is gone again", "log in once more")
    return ended


plain(
    user,
    characterId="character_id",
    characterName="character_name",
    state="shown_state",
    stateReason="state_reason",
    lastKillmailSyncAt="last_killmail_sync_at",
    lastKillmailId="last_killmail_id",
    expiresAt="expires_at",
    createdAt="created_at",
)
user.set_field("remedy", lambda each, _info: fit(remedy_of(each)) or None)


@user.field("killmails")
async def _user_killmails(
    source: User, info: Info, first: int | None = 50, after: str | None = None
) -> Connection:
    context = context_of(info)
    wanted = first_of(first, context.services.limits)
    page = await context.loaders.page.load((source.character_id, wanted, after))
    return Connection(page, source.character_id)


BINDABLES = [
    auth_payload,
    user,
    EnumType("UserState", UserState),
]
