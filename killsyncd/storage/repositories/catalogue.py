"""What the static data say of systems and types, what killmails were worth, and the search for names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import orjson

from killsyncd.core.names import begins_with, words_of
from killsyncd.core.read_model import (
    EntityKind,
    Found,
    MailFilter,
    MailValue,
    SystemFacts,
    TypeFacts,
)
from killsyncd.core.security import class_of
from killsyncd.storage.repositories.static_data import build_number
from killsyncd.storage.repository import Repository, reads
from killsyncd.storage.transaction import Ids, Row, Run, Sql, Tx

LOOKED_AT = 500
"""Names that begin with a word of a search, and are looked at."""

KEPT_SETS = 200
"""Sets of ids that are remembered, of some thousand ids at the most."""

_KINDS = {
    "character": EntityKind.CHARACTER,
    "corporation": EntityKind.CORPORATION,
    "alliance": EntityKind.ALLIANCE,
    "faction": EntityKind.FACTION,
    "inventory_type": EntityKind.TYPE,
    "solar_system": EntityKind.SYSTEM,
    "constellation": EntityKind.CONSTELLATION,
    "region": EntityKind.REGION,
    "group": EntityKind.GROUP,
    "category": EntityKind.CATEGORY,
}
_CATEGORIES = {kind: category for category, kind in _KINDS.items()}
_PLACES = {EntityKind.CONSTELLATION, EntityKind.REGION, EntityKind.GROUP, EntityKind.CATEGORY}


@dataclass(frozen=True, slots=True)
class Sets:
    """What conditions of filters on regions, classes, groups and categories come down to: ids."""

    systems: dict[tuple[int | None, int | None, str | None], Ids]
    types: dict[tuple[int | None, int | None], Ids]

    def systems_of(self, given: MailFilter) -> Ids | None:
        """Systems that a filter leaves; None where it says nothing of them."""
        place = _places(given)
        return None if place == _ANYWHERE else self.systems[place]

    def types_of(self, given: MailFilter) -> Ids | None:
        """Types of the lost ship that a filter leaves; None where it says nothing of them."""
        kind = _kinds(given)
        return None if kind == _ANYTHING else self.types[kind]


def _places(given: MailFilter) -> tuple[int | None, int | None, str | None]:
    return given.region_id, given.constellation_id, given.security_class


def _kinds(given: MailFilter) -> tuple[int | None, int | None]:
    return given.ship_group_id, given.ship_category_id


_ANYWHERE, _ANYTHING = (None, None, None), (None, None)


class KnownSets:
    """Sets of filters, kept as long as the static data stay the same: kinds of space are of thousands."""

    def __init__(self) -> None:
        # One attribute: readers of several connections do this at once, each on a snapshot of its own.
        self._known = -1, Sets({}, {})

    def of(self, given: MailFilter) -> Tx[Sets]:
        """The sets of a filter and of those in it."""
        asked = [given]
        for each in asked:
            asked += each.any_of or ()
        places = {_places(each) for each in asked} - {_ANYWHERE}
        kinds = {_kinds(each) for each in asked} - {_ANYTHING}
        if not places and not kinds:
            return Sets({}, {})
        build = yield from build_number()
        of_build, known = self._known
        if build != of_build or len(known.systems) + len(known.types) > KEPT_SETS:
            known = Sets({}, {})
        found = Sets(dict(known.systems), dict(known.types))
        for place in places - known.systems.keys():
            found.systems[place] = yield from _systems(*place)
        for kind in kinds - known.types.keys():
            found.types[kind] = yield from _types(*kind)
        self._known = build, found
        return found


def _systems(region: int | None, constellation: int | None, kind: str | None) -> Tx[Ids]:
    rows = yield Run("catalogue.all_systems", {"region_id": region, "constellation_id": constellation})
    return Ids(
        int(row["system_id"])
        for row in rows
        if kind is None or class_of(int(row["region_id"]), float(row["security"])) == kind
    )


def _types(group: int | None, category: int | None) -> Tx[Ids]:
    found: set[int] | None = None
    if group is not None:
        found = {int(row[0]) for row in (yield Run("catalogue.types_of_group", {"group_id": group}))}
    if category is not None:
        rows = yield Run("catalogue.types_of_category", {"category_id": category})
        of_category = {int(row[0]) for row in rows}
        found = of_category if found is None else found & of_category
    return Ids(sorted(found or ()))


def _value(row: Row) -> MailValue:
    day = int(row["priced_on"])
    return MailValue(
        total=int(row["total"]),
        destroyed=int(row["destroyed"]),
        dropped=int(row["dropped"]),
        ship=int(row["ship"]),
        fitted=int(row["fitted"]),
        cargo=int(row["cargo"]),
        unpriced=tuple(orjson.loads(row["unpriced"])) if row["unpriced"] else (),
        priced_on=date(day // 10_000, day // 100 % 100, day % 100),
        method=str(row["method"]),
    )


class CatalogueReads(Repository):
    """The part of the store's read side that is not about mails themselves."""

    @reads
    def systems(self, ids: Sequence[int]) -> Tx[dict[int, SystemFacts]]:
        """Systems by id; those that the static data don't know are absent."""
        rows = yield Run("catalogue.systems", {"ids": Ids(ids)})
        return {
            int(row["system_id"]): SystemFacts(
                float(row["security"]),
                int(row["region_id"]),
                row["region"],
                int(row["constellation_id"]),
                row["constellation"],
            )
            for row in rows
        }

    @reads
    def types(self, ids: Sequence[int]) -> Tx[dict[int, TypeFacts]]:
        """Types by id; those that the static data don't know are absent."""
        rows = yield Run("catalogue.types", {"ids": Ids(ids)})
        return {
            int(row["type_id"]): TypeFacts(
                row["name"], row["group_id"], row["type_group"], row["category_id"], row["category"]
            )
            for row in rows
        }

    @reads
    def region_names(self, ids: Sequence[int]) -> Tx[dict[int, str]]:
        """Regions by id."""
        return {
            int(row["region_id"]): row["name"] for row in (yield Run("catalogue.regions", {"ids": Ids(ids)}))
        }

    @reads
    def values(self, ids: Sequence[int]) -> Tx[dict[int, MailValue]]:
        """What mails were worth; those that are not valued yet are absent."""
        return {
            int(row["killmail_id"]): _value(row) for row in (yield Run("catalogue.values", {"ids": Ids(ids)}))
        }

    @reads
    def search(self, text: str, kinds: Collection[EntityKind] | None, first: int) -> Tx[list[Found]]:
        """Names with words that begin like those of the text: the same name first, then such beginnings.

        A number finds what has that id, too. kinds: which of them; None: all.
        """
        wanted = set(EntityKind if kinds is None else kinds)
        words = words_of(text)
        found: dict[tuple[EntityKind, int], Found] = {}
        if text.strip().isascii() and text.strip().isdigit() and len(text.strip()) < 19:
            rows = yield Run("catalogue.by_id", {"id": int(text)})
            _take(rows, [], wanted, found)
            if wanted & _PLACES:
                places = yield Run("catalogue.places", {})
                _take([each for each in places if each["id"] == int(text)], [], wanted, found)
        if words:
            longest = max(words, key=len)
            names = _named(longest, wanted - _PLACES)
            if names is not None:
                _take((yield names), words, wanted, found)
            if wanted & _PLACES:
                _take((yield Run("catalogue.places", {})), words, wanted, found)
        return sorted(found.values(), key=lambda each: _rank(each, text))[:first]


def _named(word: str, kinds: Collection[EntityKind]) -> Sql | None:
    """The statement for names with a word that begins so."""
    if not kinds:
        return None
    categories = ", ".join(f"'{_CATEGORIES[each]}'" for each in sorted(kinds))
    text = (
        "SELECT n.id, n.name, n.category FROM name_words w CROSS JOIN names n WHERE n.id = w.id"
        " AND w.word {binary} >= :word AND w.word {binary} < :until"
        f" AND n.category IN ({categories}) AND n.name IS NOT NULL"
        " ORDER BY w.word {binary}, w.id LIMIT :limit"
    )
    return Sql(text, {"word": word, "until": word + "\U0010ffff", "limit": LOOKED_AT})


def _take(
    rows: Sequence[Row],
    words: Sequence[str],
    kinds: Collection[EntityKind],
    into: dict[tuple[EntityKind, int], Found],
) -> None:
    for row in rows:
        kind = _KINDS.get(row["category"])
        if kind in kinds and kind is not None and row["name"] and begins_with(row["name"], words):
            into[kind, int(row["id"])] = Found(int(row["id"]), str(row["name"]), kind)


def _rank(each: Found, text: str) -> tuple[int, int, str, int]:
    name, wanted = each.name.casefold(), text.strip().casefold()
    place = 0 if name == wanted else 1 if name.startswith(wanted) else 2
    return place, len(name), name, each.id
