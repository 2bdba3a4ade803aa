"""The changing part of the universe: our pilots, their corporations, and all killmails.

Everything generated follows from the seed. A mail holds a few numbers; its JSON is made when it is asked for.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from killsyncd.core.errors import BadInput

from . import fights
from .clock import SimClock
from .config import SimulatorConfig
from .fights import Cast
from .names import alliance_name, corporation_name, pilot_name
from .records import Corporation, Pilot, WorldMail, killmail_hash
from .universe import Named, Universe, invented, load_universe, read_names

DAY = 86_400
LAST_NPC_CORPORATION = 1_999_999
DUELS = 0.3
"""How many of the mails with several of our pilots are a fight among themselves: two lists show it."""
_ID_EPOCH = (
    1_199_145_600  # 2008: ids grow by about one in five seconds, which gives today's order of magnitude
)


class World:
    """Pilots, corporations and mails, and what may be asked about them."""

    def __init__(self, config: SimulatorConfig, clock: SimClock) -> None:
        self.config = config
        self.clock = clock
        self.universe: Universe = load_universe()
        self.random = random.Random(config.seed)
        self.pilots: dict[int, Pilot] = {}
        self.corporations: dict[int, Corporation] = {}
        self.mails: dict[int, WorldMail] = {}
        self.on_new_mail: Callable[[WorldMail], None] = lambda mail: None
        self.took_part: dict[int, dict[int, None]] = {}
        """Character or corporation -> mails that it is on, also those that no list shows (assists)."""
        self.newest_id = 0
        self.bad_ids: set[int] = set(config.bad_ids)
        self._named: dict[int, Named] = read_names(config.names) if config.names else {}
        self._roles: dict[int, str] = {}  # category of ids met in given mails
        self._bodies: OrderedDict[int, bytes] = OrderedDict()
        self._created = 0
        self._taken: set[str] = set()
        self.add_pilots(config.pilots)
        self._write_history()
        if config.killmails is not None:
            self._load(config.killmails.read_bytes())
        for killmail_id in list(self.mails)[-config.prebuild :] if config.prebuild else ():
            mail = self.mails[killmail_id]
            mail.body = self._encode(mail)
            self.hash_of(mail)

    # Pilots

    def add_pilots(self, count: int) -> list[Pilot]:
        """New pilots without mails; they fill up the youngest corporation first."""
        added = []
        for _ in range(count):
            number = self._created
            self._created += 1
            scattered = number * 7919 % 1_900_000
            character_id = (91_000_000 if number % 2 else 2_116_000_000) + scattered + self.config.seed % 1000
            corporation = self._corporation(number // max(1, self.config.pilots_per_corporation))
            name = pilot_name(character_id)
            while name in self._taken:  # nobody in EVE bears another pilot's name
                name += "I" if name.endswith("I") else " I"
            self._taken.add(name)
            pilot = Pilot(
                character_id,
                name,
                corporation.corporation_id,
                corporation.alliance_id,
                director=not corporation.members,
            )
            corporation.members.append(character_id)
            self.pilots[character_id] = pilot
            added.append(pilot)
        return added

    def remove_pilot(self, character_id: int) -> None:
        """The pilot is biomassed; the mails stay."""
        pilot = self.pilots.pop(character_id)
        self.corporations[pilot.corporation_id].members.remove(character_id)

    def move_pilot(self, character_id: int, corporation_id: int) -> None:
        """The pilot joins another corporation, without any role there; the mails stay where they are.

        Into an NPC corporation, too, which has no list. Raises BadInput where there is no such corporation.
        """
        pilot = self.pilots[character_id]
        if corporation_id not in self.corporations:
            if corporation_id > LAST_NPC_CORPORATION:
                raise BadInput(f"there is no corporation {corporation_id}", "`pilots` names those there are.")
            name = corporation_name(corporation_id)
            self.corporations[corporation_id] = Corporation(corporation_id, name, None)
        self.corporations[pilot.corporation_id].members.remove(character_id)
        joined = self.corporations[corporation_id]
        joined.members.append(character_id)
        pilot.corporation_id, pilot.alliance_id = corporation_id, joined.alliance_id
        pilot.director = False

    def _corporation(self, number: int) -> Corporation:
        corporation_id = 98_700_000 + self.config.seed % 1000 * 100 + number
        if corporation_id not in self.corporations:
            alliance = None if number % 3 == 2 else 99_011_000 + number // 3
            self.corporations[corporation_id] = Corporation(
                corporation_id, corporation_name(corporation_id), alliance
            )
        return self.corporations[corporation_id]

    # Mails

    def _write_history(self) -> None:
        """`history` mails in each pilot's list, some of them shared; ids grow with time, mostly."""
        rng, wanted = self.random, self.config.history
        fights: list[tuple[list[Pilot], bool | None, bool]] = []
        left = dict.fromkeys(self.pilots, wanted)
        for corporation in self.corporations.values():
            for pilot_id in corporation.members:
                pilot = self.pilots[pilot_id]
                while left[pilot_id] > 0:
                    crew, loss = self._fight(pilot, [m for m in corporation.members if left[m] > 0])
                    for listed in crew[: 2 if loss else 1]:
                        left[listed.character_id] -= 1
                    fights.append((crew, loss, False))
                fights += [([pilot], None, True)] * round(wanted * self.config.assists)
        rng.shuffle(fights)
        span = self.config.history_hours * 3600
        now = self.clock.wall()
        step = span / max(1, len(fights))
        for position, (crew, loss, assist) in enumerate(fights):
            # A mail is written some seconds after the kill: that is why ids do not follow time to the second.
            written = now - span + step * (position + rng.random() * 0.9)
            cast = self._cast(crew, loss=loss, assist=assist)
            self._put(self._next_id(written), int(written - rng.random() ** 4 * 120), cast)

    def _fight(self, pilot: Pilot, foes: Sequence[int]) -> tuple[list[Pilot], bool | None]:
        """Who is on the mail with `pilot`, and whether the first of them dies by the second's hand."""
        rng, config = self.random, self.config
        if rng.random() >= config.sharing:
            return [pilot], None
        members = self.corporations[pilot.corporation_id].members
        mates = [m for m in members if m != pilot.character_id]
        crew = [pilot, *(self.pilots[m] for m in rng.sample(mates, min(len(mates), rng.randint(1, 4))))]
        foes = [m for m in foes if m != pilot.character_id]
        if foes and rng.random() < DUELS:
            victim = self.pilots[rng.choice(foes)]
            return [victim, *(mate for mate in crew if mate is not victim)], True
        return crew, False if len(crew) > 1 else None

    def _next_id(self, written: float) -> int:
        return max(self.newest_id + 1, int((written - _ID_EPOCH) / 5) + 20_000_000)

    def _cast(
        self, crew: Sequence[Pilot], kind: str = "", *, loss: bool | None = None, assist: bool = False
    ) -> Cast:
        """The parts of a crew: see `new_mail`."""
        parties = tuple(pilot.party() for pilot in crew)
        if assist:
            return Cast(shooters=parties, assists=True)
        if loss is None:
            alone = len(crew) == 1 and kind != "structure"
            loss = alone and (kind == "npc" or self.random.random() < 0.4)
        return Cast(victim=parties[0], shooters=parties[1:]) if loss else Cast(shooters=parties)

    def _put(self, killmail_id: int, when: int, cast: Cast, kind: str = "") -> WorldMail:
        mail = WorldMail(killmail_id, when, cast, kind)
        self.mails[killmail_id] = mail
        self.newest_id = max(self.newest_id, killmail_id)
        for party in cast.listed_for(kind):
            self.show(killmail_id, self.pilots[party.character_id])
        if kind == "structure" and cast.victim is not None:
            self.corporations[cast.victim.corporation_id].mails[killmail_id] = None
        entities = {entity for party in cast.shooters for entity in party[:2]}
        if cast.victim is not None:
            entities |= set(cast.victim[1:2] if kind == "structure" else cast.victim[:2])
        self._took_part(killmail_id, entities)
        return mail

    def show(self, killmail_id: int, pilot: Pilot) -> None:
        """Put a mail into a pilot's list, and so into that of the pilot's corporation."""
        pilot.mails.append(killmail_id)
        self.corporations[pilot.corporation_id].mails[killmail_id] = None

    def _took_part(self, killmail_id: int, entities: Iterable[int | None]) -> None:
        for entity in entities:
            if entity is not None and killmail_id not in self.took_part.setdefault(entity, {}):
                self.took_part[entity][killmail_id] = None

    def new_mail(
        self,
        crew: Sequence[Pilot],
        *,
        kind: str = "",
        late: bool = False,
        age: float = 0.0,
        loss: bool | None = None,
        assist: bool = False,
    ) -> WorldMail:
        """A kill that happened `age` seconds ago and surfaces now. `late`: its id is below the newest one.

        loss: the first of the crew dies, by the hand of the second if there is one (None: drawn for one
        pilot, a kill for several). A kill: the first of the crew strikes the final blow. All others only
        helped: the mail is in no list of theirs. assist: so did the whole crew, and a stranger struck the
        final blow.
        """
        if kind and kind not in fights.KINDS:
            raise BadInput(f"there is no kind of fight called {kind!r}", f"Known: {', '.join(fights.KINDS)}.")
        now = self.clock.wall()
        if late and self.mails:
            killmail_id = self.newest_id - 1
            while killmail_id in self.mails:
                killmail_id -= 1
            age = max(age, self.random.uniform(60, 1800))
        else:
            killmail_id = self._next_id(now)
        cast = self._cast(crew, kind, loss=loss, assist=assist)
        mail = self._put(killmail_id, int(now - age), cast, kind)
        self.on_new_mail(mail)
        return mail

    def fight(self, *, late: bool = False, age: float = 0.0, kind: str = "") -> WorldMail:
        """A new mail of one pilot, or of several of one corporation, as the configuration mixes them."""
        pilot = self.random.choice(list(self.pilots.values()))
        if self.random.random() < self.config.assists:
            return self.new_mail([pilot], kind=kind, late=late, age=age, assist=True)
        crew, loss = self._fight(pilot, self.corporations[pilot.corporation_id].members)
        return self.new_mail(crew, kind=kind, late=late, age=age, loss=loss)

    def add_document(
        self,
        document: Mapping[str, Any],
        pilots: Iterable[Pilot],
        digest: str | None = None,
        raw: bytes | None = None,
    ) -> WorldMail:
        """A mail as given, in the lists of `pilots` whether they are on it or not.

        `digest` is its hash, computed when absent. Raises BadInput when the document is no killmail.
        """
        try:
            killmail_id = int(document["killmail_id"])
            when = int(datetime.fromisoformat(document["killmail_time"]).replace(tzinfo=UTC).timestamp())
            victim = document["victim"]
            final = next(
                (row.get("character_id") for row in document["attackers"] if row["final_blow"]), None
            )
            computed = killmail_hash(victim.get("character_id"), final, victim["ship_type_id"], when)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"this is not a killmail in ESI's format ({type(error).__name__})",
                "It needs killmail_id, killmail_time, victim.ship_type_id and attackers.",
            ) from error
        plain = {key: value for key, value in document.items() if key != "killmail_hash"}
        mail = self.mails.get(killmail_id)
        if mail is None:
            mail = WorldMail(killmail_id, when, Cast(), pinned=True)
            self.mails[killmail_id] = mail
        mail.pinned = True
        mail.digest = digest or document.get("killmail_hash") or computed
        mail.body = raw if raw is not None and "killmail_hash" not in document else orjson.dumps(plain)
        self._bodies.pop(killmail_id, None)
        self.newest_id = max(self.newest_id, killmail_id)
        for row in (victim, *document["attackers"]):
            for category in ("character", "corporation", "alliance", "faction"):
                if (entity := row.get(f"{category}_id")) is not None:
                    self._roles[entity] = category
        rows = (victim, *document["attackers"])
        self._took_part(
            killmail_id, [row.get(key) for key in ("character_id", "corporation_id") for row in rows]
        )
        for pilot in pilots:
            if killmail_id not in pilot.mails:
                self.show(killmail_id, pilot)
        return mail

    def _load(self, lines: bytes) -> None:
        pilots = list(self.pilots.values())
        for number, line in enumerate(lines.splitlines()):
            if not line.strip():
                continue
            holders = [pilots[number % len(pilots)]] if self.config.spread and pilots else pilots
            try:
                self.add_document(orjson.loads(line), holders, raw=line.strip())
            except (ValueError, BadInput) as error:
                what = error.message if isinstance(error, BadInput) else f"this is not JSON: {error}"
                raise BadInput(
                    f"line {number + 1} of {self.config.killmails}: {what}",
                    "The file must hold one killmail in ESI's format a line.",
                ) from error

    def hash_of(self, mail: WorldMail) -> str:
        """The mail's hash, 40 hex digits."""
        if mail.digest is None:
            top = fights.head(self.universe, self._seed(mail), mail.kind, mail.cast)
            mail.digest = killmail_hash(
                top.victim.character_id if top.victim else None,
                top.final_blow.character_id if top.final_blow else None,
                top.hull.type_id,
                mail.time,
            )
        return mail.digest

    def body_of(self, mail: WorldMail) -> bytes:
        """The mail's JSON, as ESI sends it."""
        if mail.body is not None:
            return mail.body
        body = self._bodies.get(mail.killmail_id)
        if body is None:
            body = self._bodies[mail.killmail_id] = self._encode(mail)
            if len(self._bodies) > self.config.body_cache:
                self._bodies.popitem(last=False)
        return body

    def _encode(self, mail: WorldMail) -> bytes:
        return orjson.dumps(
            fights.whole(
                self.universe,
                self._seed(mail),
                mail.kind,
                mail.cast,
                mail.killmail_id,
                mail.time,
            )
        )

    def _seed(self, mail: WorldMail) -> int:
        return self.config.seed << 40 ^ mail.killmail_id

    # What is asked

    def listed(self, killmail_ids: Iterable[int]) -> list[int]:
        """The ids that a list shows now: 90 days, in the configured order."""
        oldest = self.clock.wall() - 90 * DAY
        ids = [i for i in killmail_ids if (mail := self.mails[i]).pinned or mail.time > oldest]
        match self.config.order:
            case "newest":
                ids.sort(reverse=True)
            case "oldest":
                ids.sort()
            case _:
                random.Random(self.config.seed).shuffle(ids)
        return ids

    def name(self, entity_id: int) -> Named | None:
        """Category and name of an id; None: ESI does not know it."""
        if entity_id in self.bad_ids:
            return None
        if (named := self._named.get(entity_id) or self.universe.names.get(entity_id)) is not None:
            return named
        if (pilot := self.pilots.get(entity_id)) is not None:
            return Named("character", pilot.name)
        if (corporation := self.corporations.get(entity_id)) is not None:
            return Named("corporation", corporation.name)
        category = self._roles.get(entity_id)
        if category == "alliance" or (category is None and 99_000_000 <= entity_id < 100_000_000):
            return Named("alliance", alliance_name(entity_id))
        return invented(entity_id, category)
