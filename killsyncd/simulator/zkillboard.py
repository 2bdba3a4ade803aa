"""A zKillboard: lists by pilot and corporation, the live stream R2Z2, and ids and hashes by day.

Written from what zKillboard documents and its peers learnt: lists of up to 200, newest first, a hundred
pages, nothing younger than 300 s; a trailing slash and no query; a User-Agent with contact; one request a
second and no list twice within an hour (what it asks for and what is polite); a file of the stream that is
not there yet is asked for again after six seconds. What breaks that is a breach like any other.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from .answer import Response, RoutedRequest, error
from .clock import SimClock
from .ledger import RequestLedger
from .records import WorldMail
from .world import DAY, World

PAGE = 200
MOST_PAGES = 100
HIDDEN = 300.0
"""Seconds for which a mail is not in a list yet."""

PACE = 1.0
"""Seconds between two requests to the lists."""

STREAM_PACE = 20
"""Requests to the stream in a second at most."""

STREAM_WAIT = 6.0
"""Seconds until a file that was not there may be asked for again."""

CACHED = 3600.0
"""Seconds for which a list is to be kept by whoever asked."""

FIRST_SEQUENCE = 96_000_000
ROUNDING = 0.1
"""How much too early a request may come by two clocks' rounding."""

_LIST = re.compile(r"^/zkillboard/api/(characterID|corporationID)/(\d+)/page/(\d+)(/?)$")
_FILE = re.compile(r"^/r2z2/ephemeral/(\d+|sequence)\.json$")
_DAY = re.compile(r"^/r2z2/history/(\d{8})\.json$")
_CONTACT = re.compile(r"\S+@\S+\.\S+|https?://\S+")


def zkillboard_call(path: str) -> RoutedRequest | None:
    """The call that a path makes; None: it is not zKillboard's."""
    if (found := _LIST.match(path)) is not None:
        kind, subject, page, slash = found.groups()
        call = RoutedRequest("zkb.list", subject=int(subject), page=int(page), extra=kind + slash)
        call.character = call.subject
        return call
    if (found := _FILE.match(path)) is not None:
        if found[1] == "sequence":
            return RoutedRequest("zkb.sequence")
        return RoutedRequest("zkb.file", subject=int(found[1]))
    if (found := _DAY.match(path)) is not None:
        return RoutedRequest("zkb.history", subject=int(found[1]))
    return RoutedRequest("zkb.unknown") if path.startswith(("/zkillboard/", "/r2z2/")) else None


class ZkillboardRoutes:
    """Answers zKillboard's routes from the world. Everything is posted there but what `unposted` holds."""

    def __init__(self, clock: SimClock, world: World, ledger: RequestLedger) -> None:
        self._clock = clock
        self._world = world
        self._ledger = ledger
        self.unposted: set[int] = set()
        """Mails that nobody has posted."""
        self.wrong: set[int] = set()
        """Mails that it knows by a wrong hash."""
        self.sequence = FIRST_SEQUENCE
        self.requests = 0
        self._files: dict[int, int] = {}
        self._oldest = FIRST_SEQUENCE + 1
        self._asked_at = -CACHED
        self._stream_asked: deque[float] = deque()
        self._lists_asked: dict[str, float] = {}
        self._absent: dict[int, float] = {}
        world.on_new_mail = self._posted

    def forget(self) -> None:
        """A day is over: the files of the stream up to now are gone."""
        self._oldest = self.sequence + 1

    def _posted(self, mail: WorldMail) -> None:
        if mail.killmail_id not in self.unposted:
            self.sequence += 1
            self._files[self.sequence] = mail.killmail_id

    def hash_of(self, mail: WorldMail) -> str:
        """The hash by which zKillboard knows a mail."""
        right = self._world.hash_of(mail)
        return right[::-1] if mail.killmail_id in self.wrong else right

    # Manners

    def look_at(
        self, call: RoutedRequest, path: str, query: str, headers: Mapping[str, str]
    ) -> Response | None:
        """Write down what is wrong with the request; the refusal, where zKillboard refuses it."""
        breach, now = self._ledger.breach, self._clock.monotonic()
        self.requests += 1
        agent = headers.get("User-Agent", "")
        if not _CONTACT.search(agent):
            breach("third_party_agent", call.route, agent)
            return error(403, "A User-Agent with contact information is required")
        if "gzip" not in headers.get("Accept-Encoding", ""):
            breach("third_party_gzip", call.route, headers.get("Accept-Encoding"))
        if query or call.route == "zkb.unknown" or (call.route == "zkb.list" and not path.endswith("/")):
            breach("third_party_path", call.route, path)
            return error(403, "Forbidden")
        if call.route == "zkb.list":
            return self._look_at_list(call, path, now)
        recent = self._stream_asked
        recent.append(now)
        while recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) > STREAM_PACE:
            breach("third_party_pace", call.route, call.subject, f"{len(recent)} requests in a second")
        asked = self._absent.get(call.subject)
        if call.route == "zkb.file" and asked is not None and now < asked + STREAM_WAIT - ROUNDING:
            breach("third_party_early", call.route, call.subject, f"{now - asked:.1f} s after a 404")
        return None

    def _look_at_list(self, call: RoutedRequest, path: str, now: float) -> Response | None:
        breach = self._ledger.breach
        if now < self._asked_at + PACE - ROUNDING:
            breach(
                "third_party_pace", call.route, call.subject, f"{now - self._asked_at:.2f} s after another"
            )
        self._asked_at = now
        if not 1 <= call.page <= MOST_PAGES:
            breach("third_party_path", call.route, path)
            return error(403, f"page 1 to {MOST_PAGES}")
        asked = self._lists_asked.get(path)
        if asked is not None and now < asked + CACHED - ROUNDING:
            breach(
                "third_party_early", call.route, call.subject, f"{path}: {now - asked:.0f} s after the last"
            )
        return None

    def told(self, path: str) -> None:
        """Somebody got a list, and keeps it for an hour."""
        self._lists_asked[path] = self._clock.monotonic()

    # Answers

    def answer(self, call: RoutedRequest, path: str) -> Response:
        """The answer of a zKillboard in order."""
        match call.route:
            case "zkb.list":
                return _json(self._list(call))
            case "zkb.sequence":
                return _json({"sequence": self.sequence})
            case "zkb.file":
                return self._file(call.subject)
            case _:
                return _json(self._history(call.subject))

    def _list(self, call: RoutedRequest) -> list[dict[str, object]]:
        world, youngest = self._world, self._clock.wall() - HIDDEN
        ids = sorted(world.took_part.get(call.subject, ()), reverse=True)
        listed = [
            mail for key in ids if key not in self.unposted and (mail := world.mails[key]).time <= youngest
        ]
        return [
            {"killmail_id": mail.killmail_id, "zkb": self._about(mail)}
            for mail in listed[(call.page - 1) * PAGE : call.page * PAGE]
        ]

    def _about(self, mail: WorldMail) -> dict[str, object]:
        return {"hash": self.hash_of(mail), "totalValue": 10_000.0, "npc": False, "solo": False}

    def _file(self, sequence: int) -> Response:
        killmail_id = self._files.get(sequence)
        if killmail_id is None or sequence < self._oldest or killmail_id in self.unposted:
            self._absent[sequence] = self._clock.monotonic()
            return error(404, "Not found")
        mail = self._world.mails[killmail_id]
        return _json(
            {
                "killmail_id": killmail_id,
                "hash": self.hash_of(mail),
                "esi": orjson.loads(self._world.body_of(mail)),
                "zkb": self._about(mail),
                "sequence_id": sequence,
            }
        )

    def _history(self, day: int) -> dict[str, str]:
        """Ids and hashes of a day."""
        try:
            begun = datetime.strptime(str(day), "%Y%m%d").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return {}
        return {
            str(mail.killmail_id): self.hash_of(mail)
            for mail in self._world.mails.values()
            if begun <= mail.time < begun + DAY and mail.killmail_id not in self.unposted
        }


def _json(document: object) -> Response:
    return Response(200, orjson.dumps(document))
