"""What webhooks' filters and messages need of mails, and the ids of names that filters are given with."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.model import SourceKind
from killsyncd.storage.repository import Repository, reads
from killsyncd.storage.transaction import Ids, Rows, Run, Tx, one
from killsyncd.webhooks.model import Ours, Place, ShipKind, Sides

_CATEGORIES = {"pilots": "character", "corporations": "corporation"}
"""As ESI calls what has such a name."""


class WebhookMailRepository(Repository):
    """What filters and messages need of mails."""

    @reads
    def our_side(self) -> Tx[Ours]:
        """Our pilots, and the corporations whose lists we read."""
        pilots = yield Run("webhooks.our_pilots", {})
        corporations = yield Run("webhooks.our_corporations", {"kind": SourceKind.CORPORATION})
        return Ours(_ids(pilots), _ids(corporations))

    @reads
    def characters_of(self, ids: Sequence[int]) -> Tx[dict[int, Sides]]:
        """Characters on mails, by side."""
        return _sides((yield Run("webhooks.characters", {"ids": Ids(ids)})), "character_id", ids)

    @reads
    def corporations_of(self, ids: Sequence[int]) -> Tx[dict[int, Sides]]:
        """Corporations on mails, by side."""
        return _sides((yield Run("webhooks.corporations", {"ids": Ids(ids)})), "corporation_id", ids)

    @reads
    def places(self, systems: Sequence[int]) -> Tx[dict[int, Place]]:
        """Solar systems that the static data knows."""
        return {
            int(row["system_id"]): Place(row["name"], float(row["security"]), row["region_id"], row["region"])
            for row in (yield Run("webhooks.places", {"ids": Ids(systems)}))
        }

    @reads
    def ships(self, types: Sequence[int]) -> Tx[dict[int, ShipKind]]:
        """Types that the static data knows."""
        rows = yield Run("webhooks.ships", {"ids": Ids(types)})
        return {int(row["type_id"]): ShipKind(int(row["group_id"]), str(row["name"])) for row in rows}

    @reads
    def values(self, ids: Sequence[int]) -> Tx[dict[int, float]]:
        """What mails were worth, in ISK; absent are those that are not valued."""
        rows = yield Run("webhooks.worth", {"ids": Ids(ids)})
        return {int(row["killmail_id"]): int(row["total"]) / 100.0 for row in rows}

    @reads
    def nameless(self, killmail_id: int) -> Tx[int]:
        """How many ids of a mail still wait for the first answer about their name."""
        row = one((yield Run("webhooks.nameless", {"killmail_id": killmail_id})))
        return int(row["n"]) if row is not None else 0

    @reads
    def has_prices(self) -> Tx[bool]:
        """Whether any price is known, so that mails get values."""
        row = one((yield Run("webhooks.prices", {})))
        return row is not None and bool(row["known"])

    @reads
    def has_static_data(self) -> Tx[bool]:
        """Whether any static data has come."""
        row = one((yield Run("webhooks.static_data", {})))
        return row is not None and bool(row["known"])

    @reads
    def find(self, what: str, word: str) -> Tx[list[int]]:
        """The ids of a name, or the id itself where it exists.

        what: `regions`, `systems`, `ship_groups`, `ship_types`, `pilots` or `corporations`. An id of a
        pilot or a corporation is taken as it is.
        """
        id_ = int(word) if word.isascii() and word.isdigit() and len(word) < 19 else 0
        if what in _CATEGORIES:
            if id_:
                return [id_]
            category = _CATEGORIES[what]
            if what == "pilots":
                rows = yield Run("webhooks.find_pilots", {"word": word, "category": category})
            else:
                rows = yield Run("webhooks.find_corporations", {"word": word, "category": category})
            return sorted(_ids(rows))
        for each in ("regions", "systems", "ship_groups", "ship_types"):
            if each == what:
                return sorted(_ids((yield Run(f"webhooks.find_{each}", {"word": word, "id": id_}))))
        raise KeyError(what)

    @reads
    def names_of(self, what: str) -> Tx[list[str]]:
        """Names among which the nearest to a mistaken one is looked for."""
        if what == "corporations":
            rows = yield Run("webhooks.names_of_corporations", {"category": _CATEGORIES[what]})
            return [str(row["name"]) for row in rows]
        for each in ("regions", "systems", "ship_groups", "ship_types", "pilots"):
            if each == what:
                return [str(row["name"]) for row in (yield Run(f"webhooks.names_of_{each}", {}))]
        raise KeyError(what)


def _ids(rows: Rows) -> frozenset[int]:
    return frozenset(int(row["id"]) for row in rows)


def _sides(rows: Rows, column: str, ids: Sequence[int]) -> dict[int, Sides]:
    found: dict[int, tuple[set[int], set[int]]] = {each: (set(), set()) for each in ids}
    for row in rows:
        victims, attackers = found[int(row["killmail_id"])]
        (victims if row["role"] == "VICTIM" else attackers).add(int(row[column]))
    return {each: Sides(frozenset(sides[0]), frozenset(sides[1])) for each, sides in found.items()}
