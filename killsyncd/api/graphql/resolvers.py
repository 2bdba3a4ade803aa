"""Fields and how they are read. What costs a statement goes through the loaders; the rest is at hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, time
from operator import attrgetter
from typing import Any, TypeVar

from ariadne import EnumType, MutationType, ObjectType, QueryType, SubscriptionType
from graphql import GraphQLResolveInfo

from killsyncd.api.graphql.budget import RAW_BYTES
from killsyncd.api.graphql.context import Connection, Context, Entity
from killsyncd.api.graphql.inputs import character_ids, filter_of, first_of, id_of
from killsyncd.auth.login import PendingLogin
from killsyncd.auth.login_state import LoginOrigin, LoginReturn
from killsyncd.core.clock import utc
from killsyncd.core.deployment import fit
from killsyncd.core.errors import BadInput, NotFound, Unavailable
from killsyncd.core.model import Queued, SyncMode, User, UserState
from killsyncd.core.read_model import (
    Attacker,
    DayActivity,
    Item,
    Mail,
    MailFilter,
    MailPage,
    Order,
    Role,
    Victim,
)
from killsyncd.service import LoginEnded, StatusReport, feed_cursor, health, remedy_of

T = TypeVar("T")
R = TypeVar("R")
Info = GraphQLResolveInfo

query = QueryType()
mutation = MutationType()
subscription = SubscriptionType()
queue_status = ObjectType("QueueStatus")
status = ObjectType("Status")
waiting = ObjectType("Waiting")
problem = ObjectType("Problem")
queued_sync = ObjectType("QueuedSync")
auth_payload = ObjectType("AuthPayload")
user = ObjectType("User")
killmail = ObjectType("Killmail")
killmail_user = ObjectType("KillmailUser")
victim = ObjectType("Victim")
attacker = ObjectType("Attacker")
item = ObjectType("Item")
connection = ObjectType("KillmailConnection")
edge = ObjectType("KillmailEdge")
page_info = ObjectType("PageInfo")
day_activity = ObjectType("DayActivity")


def _context(info: Info) -> Context:
    context: Context = info.context
    return context


def _plain(kind: ObjectType, **fields: str) -> None:
    """Fields that are attributes under another name."""
    for name, attribute in fields.items():
        kind.set_field(name, _attribute(attribute))


def _attribute(attribute: str) -> Callable[[Any, Info], Any]:
    get = attrgetter(attribute)
    return lambda source, _info: get(source)


def _entity(kind: ObjectType, **fields: str) -> None:
    """Fields that are an id and its name; the name was read together with the row."""
    for name, attribute in fields.items():
        kind.set_field(name, _entity_of(attrgetter(attribute)))


def _entity_of(get: Callable[[Any], int | None]) -> Callable[[Any, Info], Entity | None]:
    def resolve(source: Any, info: Info) -> Entity | None:
        id_ = get(source)
        return None if id_ is None else Entity(id_, info.context.loaders.name(id_))

    return resolve


# --- Query --------------------------------------------------------------------------------------


@query.field("workerStatus")
async def _worker_status(_: Any, info: Info) -> list[StatusReport]:
    return [await _context(info).status()]


@query.field("status")
async def _status(_: Any, info: Info) -> StatusReport:
    return await _context(info).status()


@query.field("users")
async def _users(_: Any, info: Info) -> list[User]:
    return await _context(info).users()


@query.field("user")
async def _user(_: Any, info: Info, characterId: str) -> User | None:
    character_id = id_of(characterId, "characterId")
    return (await _context(info).services.reading.users([character_id])).get(character_id)


@query.field("killmail")
def _killmail(_: Any, info: Info, id: str) -> Awaitable[Mail | None]:
    return _context(info).loaders.mail.load(id_of(id, "id"))


@query.field("killmails")
async def _killmails(
    _: Any,
    info: Info,
    first: int | None = 50,
    after: str | None = None,
    filter: dict[str, Any] | None = None,
    orderBy: Order | None = None,
) -> Connection:
    context = _context(info)
    given = filter_of(filter or {})
    order = orderBy or Order.TIME_DESC
    page = await context.services.reading.page(given, order, first_of(first, context.services.limits), after)
    await context.loaders.know_systems(each.mail for each in page.edges)
    return Connection(page, given)


@query.field("activity")
async def _activity(_: Any, info: Info, days: int | None = 30) -> list[DayActivity]:
    services = _context(info).services
    wanted = 30 if days is None else days
    if not 1 <= wanted <= services.limits.days:
        raise BadInput(f"days is {wanted}", f"days is 1 to {services.limits.days}")
    return await services.reading.activity(wanted, utc(services.clock.now()))


# --- Mutation -----------------------------------------------------------------------------------


@mutation.field("login")
async def _login(_: Any, info: Info) -> PendingLogin:
    return await _context(info).services.operations.begin_login(LoginOrigin.GRAPHQL)


@mutation.field("authenticateWithCode")
async def _authenticate(_: Any, info: Info, code: str, state: str) -> LoginEnded:
    ended = await _context(info).services.operations.finish_login(
        LoginReturn.GRAPHQL, {"code": code, "state": state}
    )
    if ended.user is None:
        raise Unavailable("the user is gone again", "log in once more")
    return ended


@mutation.field("queueKillmailSync")
async def _queue(
    _: Any,
    info: Info,
    characterIds: list[str] | None = None,
    force: bool | None = False,
    full: bool | None = False,
) -> Sequence[Queued]:
    services = _context(info).services
    selectors: list[str] | None = None
    if characterIds is not None:
        chosen = character_ids(characterIds, services.limits)
        known = await services.reading.users(chosen)
        for each in chosen:
            if each not in known:
                raise NotFound(f"character {each} never logged in", "users lists everybody who did")
        selectors = [str(each) for each in chosen]
    return await services.operations.queue(selectors, force=bool(force), full=bool(full))


# --- Subscription -------------------------------------------------------------------------------


@subscription.field("newKillmail")
def _new_killmail(event: Any, _info: Info, **_arguments: Any) -> Any:
    # The event is the field's value; what to send to whom is the hubs' matter (feed_hub, status_hub).
    return event


@subscription.field("workerStatusUpdates")
def _worker_status_updates(event: Any, _info: Info) -> Any:
    return event


# --- Status -------------------------------------------------------------------------------------

_plain(queue_status, queueName="queue.name", messageCount="queue.messages", consumerCount="consumers")


@queue_status.field("byPriority")
def _by_priority(report: StatusReport, _info: Info) -> list[dict[str, int]]:
    return [
        {"priority": priority, "count": count}
        for priority, count in sorted(report.queue.by_priority.items(), reverse=True)
    ]


_plain(
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


_plain(waiting, characterId="character_id", characterName="character_name")


@status.field("usersByState")
def _users_by_state(report: StatusReport, _info: Info) -> list[dict[str, Any]]:
    return [{"state": state, "count": count} for state, count in report.users_by_state.items()]


_plain(queued_sync, plainAt="plain_at", listAt="list_at")
queued_sync.set_field("reason", lambda each, _info: fit(each.reason) if each.reason else None)
_plain(problem, characterId="character_id")
problem.set_field("since", lambda each, _info: utc(each.since))
problem.set_field("remedy", lambda each, _info: fit(each.remedy))
problem.set_field("reason", lambda each, _info: fit(each.reason))
problem.set_field("stops", lambda each, _info: health.stops(each))

# --- User ---------------------------------------------------------------------------------------

_plain(
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
    context = _context(info)
    wanted = first_of(first, context.services.limits)
    page = await context.loaders.page.load((source.character_id, wanted, after))
    return Connection(page, source.character_id)


# --- Killmail -----------------------------------------------------------------------------------

_plain(
    killmail,
    id="killmail_id",
    fresh="fresh",
    killmailHash="killmail_hash",
    killmailTime="killmail_time",
    attackerCount="attacker_count",
    warId="war_id",
    moonId="moon_id",
    solo="solo",
    npc="npc",
    createdAt="created_at",
)


@killmail.field("solarSystem")
def _solar_system(mail: Mail, info: Info) -> Entity:
    return Entity(mail.solar_system_id, _context(info).loaders.system_name(mail.solar_system_id))


@killmail.field("feedCursor")
def _feed_cursor(mail: Mail, info: Info) -> str:
    return feed_cursor(_context(info).epoch, mail.feed_position)


@killmail.field("victim")
def _victim(mail: Mail, info: Info) -> Awaitable[Victim]:
    return _context(info).loaders.victim.load(mail.killmail_id)


@killmail.field("attackers")
async def _attackers(mail: Mail, info: Info) -> list[Attacker]:
    context = _context(info)
    await context.paid(mail.attacker_count)
    return await context.loaders.attackers_of(mail)


@killmail.field("finalBlow")
def _final_blow(mail: Mail, info: Info) -> Awaitable[Attacker | None]:
    return _context(info).loaders.final_blow.load(mail.killmail_id)


@killmail.field("items")
async def _items(mail: Mail, info: Info) -> list[Item]:
    context = _context(info)
    await context.paid((await context.loaders.size.load(mail.killmail_id)).items)
    return await context.loaders.items.load(mail.killmail_id)


@killmail.field("users")
def _killmail_users(mail: Mail, info: Info) -> Awaitable[list[tuple[User, Role]]]:
    return _context(info).loaders.involved.load(mail.killmail_id)


@killmail.field("raw")
async def _raw(mail: Mail, info: Info) -> bytes:
    context = _context(info)
    await context.paid((await context.loaders.size.load(mail.killmail_id)).bytes // RAW_BYTES)
    return await context.loaders.document.load(mail.killmail_id)


killmail_user.set_field("user", lambda pair, _info: pair[0])
killmail_user.set_field("role", lambda pair, _info: pair[1])

_WHO = {
    "character": "character_id",
    "corporation": "corporation_id",
    "alliance": "alliance_id",
    "faction": "faction_id",
    "shipType": "ship_type_id",
}
_entity(victim, **_WHO)
_plain(victim, damageTaken="damage_taken", position="position")
_entity(attacker, **_WHO, weaponType="weapon_type_id")
_plain(attacker, damageDone="damage_done", finalBlow="final_blow", securityStatus="security_status")
_entity(item, itemType="item_type_id")
_plain(
    item,
    flag="flag",
    quantityDropped="quantity_dropped",
    quantityDestroyed="quantity_destroyed",
    singleton="singleton",
    items="items",
)

# --- pages --------------------------------------------------------------------------------------

_plain(connection, edges="page.edges", pageInfo="page")
_plain(edge, cursor="cursor", node="mail")
_plain(page_info, hasNextPage="more", hasPreviousPage="went_before")
page_info.set_field("startCursor", lambda page, _info: _cursor_at(page, 0))
page_info.set_field("endCursor", lambda page, _info: _cursor_at(page, -1))


def _cursor_at(page: MailPage, index: int) -> str | None:
    return page.edges[index].cursor if page.edges else None


@connection.field("totalCount")
def _total_count(source: Connection, info: Info) -> Awaitable[int]:
    context = _context(info)
    if isinstance(source.counted, MailFilter):
        return context.services.reading.count(source.counted)
    return context.loaders.count.load(source.counted)


day_activity.set_field("day", lambda each, _info: datetime.combine(each.day, time(), UTC))

BINDABLES = [
    query,
    mutation,
    subscription,
    queue_status,
    status,
    waiting,
    problem,
    queued_sync,
    auth_payload,
    user,
    killmail,
    killmail_user,
    victim,
    attacker,
    item,
    connection,
    edge,
    page_info,
    day_activity,
    EnumType("UserState", UserState),
    EnumType("SyncMode", SyncMode),
    EnumType("Role", Role),
    EnumType("KillmailOrder", Order),
]
