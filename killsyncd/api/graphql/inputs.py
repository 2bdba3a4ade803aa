"""Arguments of fields as values of ours. Everything wrong is a BadInput that names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from killsyncd.api.graphql.limits import Limits
from killsyncd.core.errors import BadInput
from killsyncd.core.read_model import MailFilter


def id_of(value: str, name: str) -> int:
    """An id of EVE: a whole number above 0. Raises BadInput."""
    if value.isascii() and value.isdigit() and len(value) <= 19:
        number = int(value)
        if 0 < number < 2**63:
            return number
    raise BadInput(f"{name} is no id of EVE", f"{name} is a whole number above 0, such as 90000001")


def ids_of(values: Sequence[str], name: str, limits: Limits) -> list[int]:
    """Ids of EVE, each once. Raises BadInput."""
    if len(values) > limits.ids:
        raise BadInput(f"more than {limits.ids} {name}", "ask in several parts")
    return list(dict.fromkeys(id_of(each, name) for each in values))


def optional_ids(values: Sequence[str] | None, limits: Limits) -> frozenset[int] | None:
    """Ids of characters as a filter; None: no filter."""
    return None if values is None else frozenset(ids_of(values, "characterIds", limits))


def first_of(value: int | None, limits: Limits) -> int:
    """How long a page is to be. Raises BadInput."""
    wanted = 50 if value is None else value
    if not 1 <= wanted <= limits.page:
        raise BadInput(f"first is {wanted}", f"first is 1 to {limits.page}")
    return wanted


def filter_of(given: dict[str, Any], limits: Limits) -> MailFilter:
    """A KillmailFilter, with those in its `any`. Raises BadInput."""
    return _filter(given, limits, "filter", [limits.alternatives])


def _cents(isk: float | None) -> int | None:
    """ISK as the database has them; what is beyond all values is as good as the largest."""
    return None if isk is None else round(max(-1.0, min(isk, 1e16)) * 100)


def _filter(given: dict[str, Any], limits: Limits, name: str, left: list[int]) -> MailFilter:
    """One of them. left: how many more there may be, in one place for all."""

    def an_id(field: str) -> int | None:
        value = given.get(field)
        return None if value is None else id_of(value, f"{name}.{field}")

    ids, alternatives = given.get("killmailIds"), given.get("any")
    if ids is not None and len(ids) > limits.ids:
        raise BadInput(f"more than {limits.ids} killmailIds", "ask in several parts")
    if alternatives is not None:
        left[0] -= len(alternatives)
        if left[0] < 0:
            raise BadInput(f"more than {limits.alternatives} filters in any", "ask in several queries")
    return MailFilter(
        character_id=an_id("characterId"),
        corporation_id=an_id("corporationId"),
        alliance_id=an_id("allianceId"),
        role=given.get("role"),
        ship_type_id=an_id("shipTypeId"),
        solar_system_id=an_id("solarSystemId"),
        since=given.get("from"),
        until=given.get("to"),
        min_attackers=given.get("minAttackers"),
        solo=given.get("solo"),
        npc=given.get("npc"),
        attacker_ship_type_id=an_id("attackerShipTypeId"),
        final_blow_character_id=an_id("finalBlowCharacterId"),
        war_id=an_id("warId"),
        killmail_ids=None if ids is None else tuple({id_of(each, f"{name}.killmailIds") for each in ids}),
        region_id=an_id("regionId"),
        constellation_id=an_id("constellationId"),
        security_class=given.get("securityClass"),
        ship_group_id=an_id("shipGroupId"),
        ship_category_id=an_id("shipCategoryId"),
        min_value=_cents(given.get("minValue")),
        max_value=_cents(given.get("maxValue")),
        any_of=None
        if alternatives is None
        else tuple(_filter(each, limits, f"{name}.any", left) for each in alternatives),
    )
