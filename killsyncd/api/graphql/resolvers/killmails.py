"""Killmails and pages of them. What costs a statement goes through the loaders; the rest is at hand."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, time
from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.budget import RAW_BYTES
from killsyncd.api.graphql.context import Connection, Entity
from killsyncd.api.graphql.inputs import filter_of, first_of, id_of
from killsyncd.api.graphql.resolvers.fields import Info, context_of, entity, plain
from killsyncd.api.graphql.resolvers.roots import query, subscription
from killsyncd.api.graphql.resolvers.sources import sources_of
from killsyncd.core.clock import utc
from killsyncd.core.errors import BadInput
from killsyncd.core.model import User
from killsyncd.core.read_model import (
    Attacker,
    DayActivity,
    EntityKind,
    ItemOfMail,
    Mail,
    MailFilter,
    MailPage,
    Order,
    Role,
    Victim,
)
from killsyncd.service import feed_cursor

killmail = ObjectType("Killmail")
killmail_user = ObjectType("KillmailUser")
victim = ObjectType("Victim")
attacker = ObjectType("Attacker")
item = ObjectType("Item")
connection = ObjectType("KillmailConnection")
edge = ObjectType("KillmailEdge")
page_info = ObjectType("PageInfo")
day_activity = ObjectType("DayActivity")


@query.field("killmail")
def _killmail(_: Any, info: Info, id: str) -> Awaitable[Mail | None]:
    return context_of(info).loaders.mail.load(id_of(id, "id"))


@query.field("killmails")
async def _killmails(
    _: Any,
    info: Info,
    first: int | None = 50,
    after: str | None = None,
    filter: dict[str, Any] | None = None,
    orderBy: Order | None = None,
) -> Connection:
    context = context_of(info)
    given = filter_of(filter or {}, context.services.limits)
    order = orderBy or Order.TIME_DESC
    page = await context.services.reading.page(given, order, first_of(first, context.services.limits), after)
    await context.loaders.know_systems(each.mail for each in page.edges)
    return Connection(page, given)


@query.field("activity")
async def _activity(_: Any, info: Info, days: int | None = 30) -> list[DayActivity]:
    services = context_of(info).services
    wanted = 30 if days is None else days
    if not 1 <= wanted <= services.limits.days:
        raise BadInput(f"days is {wanted}", f"days is 1 to {services.limits.days}")
    return await services.reading.activity(wanted, utc(services.clock.now()))


@subscription.field("newKillmail")
def _new_killmail(event: Any, _info: Info, **_arguments: Any) -> Any:
    # The event is the field's value; what to send to whom is the hubs' matter (feed_hub, status_hub).
    return event


plain(
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
    name = context_of(info).loaders.system_name(mail.solar_system_id)
    return Entity(mail.solar_system_id, name, EntityKind.SYSTEM)


@killmail.field("feedCursor")
def _feed_cursor(mail: Mail, info: Info) -> str:
    return feed_cursor(context_of(info).epoch, mail.feed_position)


@killmail.field("victim")
def _victim(mail: Mail, info: Info) -> Awaitable[Victim]:
    return context_of(info).loaders.victim.load(mail.killmail_id)


@killmail.field("attackers")
async def _attackers(mail: Mail, info: Info) -> list[Attacker]:
    context = context_of(info)
    await context.paid_rows(info, mail.attacker_count)
    return await context.loaders.attackers_of(mail)


@killmail.field("finalBlow")
def _final_blow(mail: Mail, info: Info) -> Awaitable[Attacker | None]:
    return context_of(info).loaders.final_blow.load(mail.killmail_id)


@killmail.field("items")
async def _items(mail: Mail, info: Info) -> list[ItemOfMail]:
    context = context_of(info)
    await context.paid_rows(info, (await context.loaders.size.load(mail.killmail_id)).items)
    return [ItemOfMail(each, mail) for each in await context.loaders.items.load(mail.killmail_id)]


@killmail.field("users")
def _killmail_users(mail: Mail, info: Info) -> Awaitable[list[tuple[User, Role]]]:
    return context_of(info).loaders.involved.load(mail.killmail_id)


@killmail.field("raw")
async def _raw(mail: Mail, info: Info) -> bytes:
    context = context_of(info)
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
entity(victim, **_WHO)
plain(victim, damageTaken="damage_taken", position="position")
entity(attacker, **_WHO, weaponType="weapon_type_id")
plain(attacker, damageDone="damage_done", finalBlow="final_blow", securityStatus="security_status")
entity(item, itemType="item.item_type_id")
plain(
    item,
    flag="item.flag",
    quantityDropped="item.quantity_dropped",
    quantityDestroyed="item.quantity_destroyed",
    singleton="item.singleton",
    items="items",
)

# --- pages --------------------------------------------------------------------------------------

plain(connection, edges="page.edges", pageInfo="page")
plain(edge, cursor="cursor", node="mail")
plain(page_info, hasNextPage="more", hasPreviousPage="went_before")
page_info.set_field("startCursor", lambda page, _info: _cursor_at(page, 0))
page_info.set_field("endCursor", lambda page, _info: _cursor_at(page, -1))


def _cursor_at(page: MailPage, index: int) -> str | None:
    return page.edges[index].cursor if page.edges else None


@connection.field("totalCount")
def _total_count(source: Connection, info: Info) -> Awaitable[int]:
    context = context_of(info)
    if isinstance(source.counted, MailFilter):
        return context.services.reading.count(source.counted)
    return context.loaders.count.load(source.counted)


day_activity.set_field("iskDestroyed", lambda each, _info: each.isk_destroyed / 100)
day_activity.set_field("iskLost", lambda each, _info: each.isk_lost / 100)
day_activity.set_field("day", lambda each, _info: datetime.combine(each.day, time(), UTC))

killmail.set_field("sources", sources_of)

BINDABLES = [
    killmail,
    killmail_user,
    victim,
    attacker,
    item,
    connection,
    edge,
    page_info,
    day_activity,
    EnumType("Role", Role),
    EnumType("KillmailOrder", Order),
]
