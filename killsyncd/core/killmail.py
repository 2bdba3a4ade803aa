"""The killmail as ESI sends it: strict decoding, its hash, and what kind of fight it was.

Source: `GET /killmails/{killmail_id}/{killmail_hash}` of ESI's OpenAPI file, compatibility date
2026-08-18. All integers there are int64 (quantities above 2^31 do occur); what the specification does
not require may be absent: structures and NPCs have no `character_id`, old mails have no position.
Keys that we do not know are ignored here and kept in the raw JSON, which is stored as ESI sent it.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import orjson

from killsyncd.core.errors import BadInput

MAX_ROWS = 20_000
"""More attackers or items than this is no killmail (the largest fights of EVE list some 4,000)."""

MAX_DEPTH = 8
"""ESI nests items once (container, ship hangar). Deeper than this is an attack on our stack."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

# gc=False: a killmail has no cycles, and a big fight would otherwise put thousands of objects before
# the garbage collector.


class EsiPosition(msgspec.Struct, frozen=True, gc=False):
    """Metres from the centre of the solar system."""

    x: float
    y: float
    z: float


class EsiItem(msgspec.Struct, frozen=True, gc=False):
    """One stack in the wreck. `singleton` 2 is a blueprint copy."""

    item_type_id: Int64
    flag: Int64
    singleton: Int64
    quantity_dropped: Int64 | None = None
    quantity_destroyed: Int64 | None = None
    items: Annotated[list[EsiItem], msgspec.Meta(max_length=MAX_ROWS)] | None = None


class EsiAttacker(msgspec.Struct, frozen=True, gc=False):
    """One line of the attackers. Identical lines (NPCs) are different attackers."""

    damage_done: Int64
    final_blow: bool
    security_status: float
    character_id: Int64 | None = None
    corporation_id: Int64 | None = None
    alliance_id: Int64 | None = None
    faction_id: Int64 | None = None
    ship_type_id: Int64 | None = None
    weapon_type_id: Int64 | None = None


class EsiVictim(msgspec.Struct, frozen=True, gc=False):
    """Who, or what structure, was destroyed."""

    damage_taken: Int64
    ship_type_id: Int64
    character_id: Int64 | None = None
    corporation_id: Int64 | None = None
    alliance_id: Int64 | None = None
    faction_id: Int64 | None = None
    items: Annotated[list[EsiItem], msgspec.Meta(max_length=MAX_ROWS)] | None = None
    position: EsiPosition | None = None


class Killmail(msgspec.Struct, frozen=True, gc=False):
    """A whole killmail. It never changes once it exists."""

    killmail_id: Id
    killmail_time: Time
    solar_system_id: Int64
    victim: EsiVictim
    attackers: Annotated[list[EsiAttacker], msgspec.Meta(max_length=MAX_ROWS)]
    war_id: Int64 | None = None
    moon_id: Int64 | None = None


_decoder = msgspec.json.Decoder(Killmail)


def decode(raw: bytes) -> Killmail:
    """Decode one killmail of ESI's format, strictly: an id that comes as text is an error.

    The whole text must be JSON, also where nothing is read: it is stored and shown as it came.
    Raises BadInput with the path of what is wrong (`$.victim.ship_type_id`), never with its value.
    """
    try:
        killmail = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise BadInput(f"not a killmail: {error}") from None
    except msgspec.DecodeError as error:
        raise BadInput(f"not a killmail: no JSON ({error})") from None
    except UnicodeDecodeError:
        raise BadInput("not a killmail: text that is not UTF-8") from None
    except RecursionError:
        raise BadInput("not a killmail: nested too deep") from None
    if not is_json(raw):  # msgspec passes over the values of keys that it does not know
        raise BadInput("not a killmail: a field that is not read holds no JSON, or text that is not UTF-8")
    if not 1 < killmail.killmail_time.year < 9999:  # in UTC it would be before or after all calendars
        raise BadInput("not a killmail: $.killmail_time is no time of EVE's")
    items = killmail.victim.items
    if items:
        _measure(items)
    return killmail


def is_json(raw: bytes) -> bool:
    """Whether all of it is JSON in UTF-8 (RFC 8259), as others will have to read it."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def readable(raw: bytes) -> bytes:
    """A stored document that may be put into an answer: itself, or as `repaired` where it is no UTF-8.

    What was stored is JSON otherwise; looking through all of it would cost some 10 ms for a large fight.
    """
    try:
        raw.decode()
    except UnicodeDecodeError:
        return repaired(raw)
    return raw


def repaired(raw: bytes) -> bytes:
    """A document as JSON: itself, or what can be saved of one that an older release took in.

    Bytes that are no UTF-8 become U+FFFD and numbers beyond a double null; where that does not make it
    JSON, only what `Killmail` reads is kept. `{}` where not even that can be read.
    """
    if is_json(raw):
        return raw
    text = raw.decode("utf-8", "replace")
    if is_json(replaced := text.encode()):
        return replaced
    try:
        document = json.loads(text, parse_float=_finite, parse_constant=lambda _: None)
        saved = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        saved = b""
    if saved and is_json(saved):
        return saved
    try:
        return msgspec.json.encode(_without_absent(msgspec.to_builtins(_decoder.decode(raw))))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b"{}"


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _without_absent(value: Any) -> Any:
    """Without the keys that ESI leaves out where there is nothing to say."""
    if isinstance(value, dict):
        return {key: _without_absent(each) for key, each in value.items() if each is not None}
    return [_without_absent(each) for each in value] if isinstance(value, list) else value


def _measure(items: list[EsiItem]) -> None:
    """Refuse too many items in sum, or containers in containers without end."""
    total, depth = len(items), 1
    level = [item.items for item in items if item.items]
    while level:
        depth += 1
        total += sum(map(len, level))
        if depth > MAX_DEPTH or total > MAX_ROWS:
            raise BadInput(f"not a killmail: more than {MAX_ROWS} items or {MAX_DEPTH} levels of them")
        level = [item.items for inner in level for item in inner if item.items]


_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def filetime(when: datetime) -> int:
    """Windows FILETIME: 100 ns steps since 1601-01-01 UTC."""
    span = when - _FILETIME_EPOCH
    return (span.days * 86_400 + span.seconds) * 10_000_000 + span.microseconds * 10


def compute_hash(killmail: Killmail) -> str:
    """The killmail hash: SHA-1, 40 lowercase hex digits, of four values written one after another.

    Victim's character id, the final blow's character id (each `None` if there is none), the victim's
    ship type and the time as FILETIME. A peer's finding, not CCP's word; it holds for every real mail
    tried. Not unique, and a key to the mail: it must not appear in logs.
    """
    final_blow = next((attacker for attacker in killmail.attackers if attacker.final_blow), None)
    victim = killmail.victim
    text = (
        f"{victim.character_id}{final_blow.character_id if final_blow else None}"
        f"{victim.ship_type_id}{filetime(killmail.killmail_time)}"
    )
    return hashlib.sha1(text.encode("ascii"), usedforsecurity=False).hexdigest()


def is_hash(text: str) -> bool:
    """Whether this is written like a killmail hash: 40 lowercase hex digits."""
    return len(text) == 40 and text.isascii() and not text.strip("0123456789abcdef")


LAST_NPC_CORPORATION = 1_999_999
"""Ids of corporations above this are players' (CCP's id ranges, https://developers.eveonline.com)."""


def _of_players(attacker: EsiAttacker) -> bool:
    """A pilot, or something that shoots for a corporation of pilots: a structure, a deployable."""
    return attacker.character_id is not None or (
        attacker.corporation_id is not None and attacker.corporation_id > LAST_NPC_CORPORATION
    )


def is_solo(killmail: Killmail) -> bool:
    """One player alone killed another.

    The victim has a character; exactly one attacker has a character; and no other attacker belongs to
    players (a structure or deployable of a players' corporation). NPCs may have shot along.
    """
    if killmail.victim.character_id is None:
        return False
    players = [attacker for attacker in killmail.attackers if _of_players(attacker)]
    return len(players) == 1 and players[0].character_id is not None


def is_npc(killmail: Killmail) -> bool:
    """No attacker is a player or belongs to a players' corporation: rats or police alone did it."""
    return not any(map(_of_players, killmail.attackers))
