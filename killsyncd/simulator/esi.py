"""ESI's routes: what is answered, not whether it may be asked (that is the gate's part)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import orjson

from .answer import Response, RoutedRequest, error
from .clock import SimClock, http_date, iso_date
from .config import SimulatorConfig
from .ledger import RequestLedger
from .listing import Lists, Snapshot, etag_of, unchanged
from .market import esi_prices
from .names import ticker
from .world import World

DETAIL_LIFE = 30 * 86_400
NAMES_AT_ONCE = 1000
AFFILIATION_LIFE = 3600.0


class EsiRoutes:
    """Answers ESI's routes from the world."""

    def __init__(
        self, config: SimulatorConfig, clock: SimClock, world: World, lists: Lists, ledger: RequestLedger
    ) -> None:
        self._config = config
        self._clock = clock
        self._world = world
        self._lists = lists
        self._ledger = ledger
        self._started = clock.wall()
        self.affiliation_life = AFFILIATION_LIFE
        """Seconds for which an answer of `/characters/affiliation` is cached."""
        self._modified = http_date(self._started)
        self._cached: dict[str, tuple[float, float, bytes]] = {}
        """Key -> monotonic end, wall end, body of answers that are cached for all."""

    def answer(
        self, call: RoutedRequest, headers: Mapping[str, str], body: bytes, claims: Mapping[str, Any] | None
    ) -> Response:
        """The answer to a request that may be asked; `claims` are those of its verified token."""
        if_none_match = headers.get("If-None-Match")
        match call.route:
            case "esi.killmail":
                return self._killmail(call, if_none_match)
            case "esi.character_killmails" | "esi.corporation_killmails":
                return self._list(call, if_none_match)
            case "esi.names":
                return self._names(body)
            case "esi.affiliation":
                return self._affiliation(body)
            case "esi.war_killmails":
                return self._list(call, if_none_match)
            case "esi.unknown":
                return error(404, "Not found")
        made = self._document(call)
        if isinstance(made, Response):
            return made
        document, life = made
        return self._shared(call, document, life, if_none_match)

    # Killmails and lists

    def _killmail(self, call: RoutedRequest, if_none_match: str | None) -> Response:
        mail = self._world.mails.get(call.subject)
        if mail is None or call.extra != self._world.hash_of(mail):
            return error(422, "Invalid killmail_id and/or killmail_hash")
        body = self._world.body_of(mail)
        etag = f'"{mail.killmail_id:x}-{call.extra[:16]}"'
        headers = {
            "Cache-Control": "public",
            "ETag": etag,
            "Expires": http_date(self._clock.wall() + DETAIL_LIFE),
            "Last-Modified": http_date(mail.time),
        }
        if unchanged(if_none_match, etag):
            return Response(304, b"", headers)
        return Response(200, body, headers)

    def _list(self, call: RoutedRequest, if_none_match: str | None) -> Response:
        kind = {"esi.character_killmails": "character", "esi.corporation_killmails": "corporation"}.get(
            call.route, "war"
        )
        if kind == "character" and call.subject not in self._world.pilots:
            return error(404, "Character not found")
        if kind == "corporation" and call.subject not in self._world.corporations:
            return error(404, "Corporation not found")
        snapshot = self._lists.snapshot(kind, call.subject)
        if self._lists.empty_404 and not snapshot.ids:
            return error(404, "No killmails found")
        if call.page > snapshot.pages:
            self._ledger.breach(
                "past_the_end", call.route, call.subject, f"page {call.page} of {snapshot.pages}"
            )
            return error(404, "Requested page does not exist!")
        headers = self._list_headers(snapshot, call.page)
        if unchanged(if_none_match, headers["ETag"]):
            return Response(304, b"", headers, fresh_until=snapshot.dies)
        return Response(200, self._lists.page(snapshot, call.page), headers, fresh_until=snapshot.dies)

    def _list_headers(self, snapshot: Snapshot, page: int) -> dict[str, str]:
        return {
            "Cache-Control": "private",
            "ETag": self._lists.etag(snapshot, page),
            "Expires": snapshot.expires,
            "Last-Modified": snapshot.last_modified,
            "X-Pages": str(snapshot.pages),
        }

    # Names

    def _ids(self, body: bytes) -> list[int] | Response:
        try:
            ids = orjson.loads(body)
        except ValueError:
            return error(400, "Body is not valid JSON")
        if not isinstance(ids, list) or not all(type(value) is int for value in ids):
            return error(400, "Body must be an array of integers")
        if not 1 <= len(ids) <= NAMES_AT_ONCE or len(set(ids)) != len(ids):
            self._ledger.breach("names_batch", "esi.names", len(ids))
            return error(400, f"1 to {NAMES_AT_ONCE} unique ids are allowed")
        return ids

    def _names(self, body: bytes) -> Response:
        ids = self._ids(body)
        if isinstance(ids, Response):
            return ids
        found = []
        for entity_id in ids:
            named = self._world.name(entity_id)
            if named is None:  # all or nothing: ESI does not say which one
                return error(404, "Ensure all IDs are valid before resolving.")
            found.append({"category": named.category, "id": entity_id, "name": named.name})
        found.sort(key=lambda row: (row["category"], row["id"]))  # ESI's order is not the question's
        encoded = orjson.dumps(found)
        return Response(
            200,
            encoded,
            {"Cache-Control": "public", "ETag": etag_of(encoded), "Last-Modified": self._modified},
        )

    def _affiliation(self, body: bytes) -> Response:
        ids = self._ids(body)
        if isinstance(ids, Response):
            return ids
        rows: list[dict[str, int]] = []
        for entity_id in ids:
            if (pilot := self._world.pilots.get(entity_id)) is None:
                continue  # ESI leaves out whom it does not know
            row = {"character_id": entity_id, "corporation_id": pilot.corporation_id}
            if pilot.alliance_id is not None:
                row["alliance_id"] = pilot.alliance_id
            rows.append(row)
        encoded = orjson.dumps(rows)
        return Response(
            200,
            encoded,
            {
                "Cache-Control": "public",
                "ETag": etag_of(encoded),
                "Expires": http_date(self._clock.wall() + self.affiliation_life),
                "Last-Modified": self._modified,
            },
        )

    # Single documents

    def _document(self, call: RoutedRequest) -> tuple[Any, float] | Response:
        """The document and how long it is cached, in seconds."""
        world, now = self._world, self._clock.wall()
        match call.route:
            case "esi.status":
                players = 24_000 + random.Random(int(now) // 30).randrange(9_000)
                return {
                    "players": players,
                    "server_version": "3142455",
                    "start_time": iso_date(self._started),
                    "vip": False,
                }, self._config.status_cache
            case "esi.prices":
                day = int(now // 86_400)
                return esi_prices(world.universe, self._config.seed, day), 3600
            case "esi.roles":
                pilot = world.pilots.get(call.subject)
                if pilot is None:
                    return error(404, "Character not found")
                return {"roles": ["Director"] if pilot.director else []}, 3600
            case "esi.character":
                return self._character(call.subject)
            case "esi.corporation":
                return self._corporation(call.subject)
            case "esi.type":
                return self._type(call.subject)
            case "esi.group":
                types = [key for key, info in world.universe.types.items() if info.group_id == call.subject]
                if not types:
                    return error(404, "Group not found!")
                name, category = world.universe.groups[call.subject]
                return {
                    "category_id": category,
                    "group_id": call.subject,
                    "name": name,
                    "published": True,
                    "types": types,
                }, 86_400
            case "esi.system":
                return self._system(call.subject)
            case "esi.meta_status":
                routes = [
                    {"method": "GET", "path": "/status", "status": "OK"},
                    {"method": "GET", "path": "/characters/{character_id}/killmails/recent", "status": "OK"},
                    {"method": "GET", "path": "/killmails/{killmail_id}/{killmail_hash}", "status": "OK"},
                    {"method": "POST", "path": "/universe/names", "status": "OK"},
                ]
                return {"routes": routes}, 60
            case _:
                return {"compatibility_dates": [self._config.compatibility_date, "2020-01-01"]}, 600

    def _shared(self, call: RoutedRequest, document: Any, life: float, if_none_match: str | None) -> Response:
        """A document that is cached for everybody until one moment."""
        key = f"{call.route}/{call.subject}"
        now = self._clock.monotonic()
        ends, ends_wall, encoded = self._cached.get(key, (0.0, 0.0, b""))
        if now >= ends:
            wall = self._clock.wall()
            ends_wall = int(wall + life)
            ends, encoded = now + ends_wall - wall, orjson.dumps(document)
            self._cached[key] = (ends, ends_wall, encoded)
        headers = {
            "Cache-Control": "private" if call.scope else "public",
            "ETag": etag_of(encoded),
            "Expires": http_date(ends_wall),
            "Last-Modified": http_date(max(self._started, ends_wall - life)),
        }
        if unchanged(if_none_match, headers["ETag"]):
            return Response(304, b"", headers)
        return Response(200, encoded, headers)

    def _character(self, character_id: int) -> tuple[Any, float] | Response:
        pilot = self._world.pilots.get(character_id)
        if pilot is None:
            return error(404, "Character not found")
        document = {
            "achievement_score": character_id % 9000,
            "birthday": iso_date(1_230_000_000 + character_id % 400_000_000),
            "bloodline_id": 1 + character_id % 8,
            "corporation_id": pilot.corporation_id,
            "description": "",
            "gender": "female" if character_id % 2 else "male",
            "name": pilot.name,
            "race_id": 1 + character_id % 8,
            "security_status": round(random.Random(character_id).uniform(-10, 5), 2),
        }
        if pilot.alliance_id is not None:
            document["alliance_id"] = pilot.alliance_id
        return document, 86_400

    def _corporation(self, corporation_id: int) -> tuple[Any, float] | Response:
        corporation = self._world.corporations.get(corporation_id)
        if corporation is None:
            return error(404, "Corporation not found")
        document = {
            "date_founded": iso_date(1_500_000_000),
            "description": "",
            "friendly_fire": "illegal",
            "home_station_id": 60_003_760,
            "member_count": len(corporation.members),
            "name": corporation.name,
            "palette": {"main_color": "#7fc8ff"},
            "shares": 1000,
            "state": "active" if corporation.members else "closed",
            "tax_rates": {"isk": 10.0, "loyalty_point": 0.0},
            "ticker": ticker(corporation.name),
            "type": "player_owned",
            "war_eligible": True,
        }
        if corporation.members:
            document |= {"ceo_id": corporation.members[0], "creator_id": corporation.members[0]}
        if corporation.alliance_id is not None:
            document["alliance_id"] = corporation.alliance_id
        return document, 3600

    def _type(self, type_id: int) -> tuple[Any, float] | Response:
        info = self._world.universe.types.get(type_id)
        if info is None:
            return error(404, "Type not found!")
        document = {
            "description": "",
            "group_id": info.group_id,
            "name": info.name,
            "published": True,
            "type_id": type_id,
        }
        return document, 86_400

    def _system(self, system_id: int) -> tuple[Any, float] | Response:
        system = self._world.universe.systems.get(system_id)
        if system is None:
            return error(404, "Solar system not found")
        rng = random.Random(system_id)
        document = {
            "constellation_id": self._world.universe.places[system_id],
            "name": system[0],
            "position": {axis: rng.uniform(-4e17, 4e17) for axis in ("x", "y", "z")},
            "security_status": system[1],
            "system_id": system_id,
        }
        return document, 86_400
