"""A killmail as a message of Discord: one embed, within every limit, with nobody mentioned but the named
role. Pure.

Limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits
"""

from __future__ import annotations

from typing import Any

from killsyncd.config import WebhookConfig
from killsyncd.core.clock import utc
from killsyncd.webhooks.filters import security_class, shown_security
from killsyncd.webhooks.model import Shown
from killsyncd.webhooks.text import cut, escaped, isk, plain, size

TITLE, DESCRIPTION, FIELD_NAME, FIELD_VALUE, FOOTER, TOGETHER = 256, 4096, 256, 1024, 2048, 6000
COLOURS = {"kill": 0x2E9E5B, "loss": 0xC8413B, "": 0x7A8290}
IMAGES = "https://images.evetech.net"
AGAIN = "sent again after a break, so it may stand above already"
TEST = "this is a test"


def message(shown: Shown, config: WebhookConfig, public_url: str) -> dict[str, Any]:
    """What is posted. public_url: of the dashboard; empty: no link to it."""
    one = shown.candidate
    mail = one.mail
    embed: dict[str, Any] = {
        "title": cut(_title(shown), TITLE),
        "color": COLOURS[shown.outcome],
        "timestamp": f"{mail.killmail_time:%Y-%m-%dT%H:%M:%SZ}",
        "thumbnail": {"url": f"{IMAGES}/types/{one.victim.ship_type_id}/render?size=128"},
        "fields": _fields(shown),
        "footer": {"text": cut(_footer(shown), FOOTER)},
    }
    if public_url:
        embed["url"] = f"{public_url}/#/killmail/{mail.killmail_id}"
    if config.zkillboard_link:
        link = f"[zKillboard](https://zkillboard.com/kill/{mail.killmail_id}/)"
        embed["description"] = cut(link, DESCRIPTION)
    body: dict[str, Any] = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    if mentions(shown, config):
        body["content"] = f"<@&{config.mention_role}>"
        body["allowed_mentions"] = {"parse": [], "roles": [config.mention_role]}
    assert weight(embed) <= TOGETHER, "every part is far shorter than its limit"
    return body


def mentions(shown: Shown, config: WebhookConfig) -> bool:
    """Whether the role is mentioned: it is named, this is no test, and the mail is worth enough."""
    if not config.mention_role or shown.test:
        return False
    return config.mention_min_value <= 0 or (shown.candidate.value or 0.0) >= config.mention_min_value


def weight(embed: dict[str, Any]) -> int:
    """What counts towards the limit of all embeds together."""
    texts = [embed.get("title", ""), embed.get("description", ""), embed["footer"]["text"]]
    texts += [text for each in embed["fields"] for text in (each["name"], each["value"])]
    return sum(size(text) for text in texts)


def as_text(body: dict[str, Any]) -> str:
    """The message as one sees it, roughly; for `ctl webhooks` and tests."""
    (embed,) = body["embeds"]
    lines = [body["content"]] if "content" in body else []
    lines.append(embed["title"])
    if "description" in embed:
        lines.append(embed["description"])
    for each in embed["fields"]:
        lines.append(f"{each['name']}: " + " / ".join(each["value"].split("\n")))
    return "\n".join([*lines, f"({embed['footer']['text']})"])


def _title(shown: Shown) -> str:
    one = shown.candidate
    ship = _ship(shown, one.victim.ship_type_id)
    who = one.victim.character_id or one.victim.corporation_id
    of = f" of {_name(shown, who)}" if who is not None else ""
    return f"{ship}{of} in {_system(shown)}"


def _fields(shown: Shown) -> list[dict[str, Any]]:
    one = shown.candidate
    victim, blow, place = one.victim, shown.final_blow, one.place
    found = [_field("Victim", [victim.character_id, victim.corporation_id, victim.alliance_id], shown)]
    if blow is not None:
        struck = [blow.character_id, blow.corporation_id, blow.alliance_id]
        if not any(struck):
            struck = [blow.faction_id]
        field = _field("Final blow", struck, shown)
        if blow.ship_type_id is not None:
            ship = _ship(shown, blow.ship_type_id)
            # Of an NPC that belongs to nobody it is all that there is.
            field["value"] = cut(f"{field['value']}\n{ship}", FIELD_VALUE) if any(struck) else ship
        found.append(field)
    where = _system(shown)
    if place is not None:
        named = escaped(place.region) if place.region else f"region {place.region_id}"
        where = f"{where} {shown_security(place.security)} ({security_class(place)})\n{named}"
    found.append(_of("System", where))
    if one.value is not None:
        found.append(_of("Value", isk(one.value)))
    found.append(_of("Attackers", f"{one.mail.attacker_count:,}"))
    found.append(_of("Time", f"{utc(one.mail.killmail_time.timestamp()):%Y-%m-%d %H:%M} UTC"))
    return found


def _field(name: str, ids: list[int | None], shown: Shown) -> dict[str, Any]:
    lines = [_name(shown, each) for each in ids if each is not None]
    return _of(name, "\n".join(lines) or "nobody")


def _of(name: str, value: str) -> dict[str, Any]:
    return {"name": cut(name, FIELD_NAME), "value": cut(value, FIELD_VALUE), "inline": True}


def _name(shown: Shown, id_: int) -> str:
    """A name, or its id: better a number that can be looked up than "Unknown"."""
    return escaped(shown.names.get(id_, "")) or f"\\#{id_}"


def _ship(shown: Shown, type_id: int) -> str:
    known = shown.names.get(type_id, "")
    ship = shown.candidate.ship
    if not known and ship is not None and type_id == shown.candidate.victim.ship_type_id:
        known = ship.name
    return escaped(known) or f"type {type_id}"


def _system(shown: Shown) -> str:
    one = shown.candidate
    known = one.place.name if one.place is not None else shown.names.get(one.mail.solar_system_id, "")
    return escaped(known) or f"system {one.mail.solar_system_id}"


def _footer(shown: Shown) -> str:
    parts = [{"kill": "Kill", "loss": "Loss", "": "Killmail"}[shown.outcome]]
    parts[0] += f" {shown.candidate.mail.killmail_id}"
    if shown.test:
        parts.append(TEST)
    if shown.again:
        parts.append(AGAIN)
    return plain(parts[0]) + "".join(f" · {each}" for each in parts[1:])
