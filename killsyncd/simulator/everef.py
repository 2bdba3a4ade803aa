"""EVE Ref's archive of killmails: a tar under bzip2 a day, and how many mails each day has."""

from __future__ import annotations

import bz2
import io
import re
import tarfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from .answer import Response, RoutedRequest, error
from .clock import http_date
from .ledger import RequestLedger
from .records import WorldMail
from .world import World

_DAY = re.compile(r"^/everef/killmails/(\d{4})/killmails-(\d{4})-(\d\d)-(\d\d)\.tar\.bz2$")
_CONTACT = re.compile(r"\S+@\S+\.\S+|https?://\S+")


def everef_call(path: str) -> RoutedRequest | None:
    """The call that a path makes; None: it is not EVE Ref's."""
    if path == "/everef/killmails/totals.json":
        return RoutedRequest("everef.totals")
    if (found := _DAY.match(path)) is not None and found[1] == found[2]:
        return RoutedRequest("everef.day", subject=int(found[2] + found[3] + found[4]))
    return RoutedRequest("everef.unknown") if path.startswith("/everef/") else None


class EverefRoutes:
    """Answers from the world: every mail that is on zKillboard is in the archive of its day."""

    def __init__(self, world: World, ledger: RequestLedger, unposted: set[int]) -> None:
        self._world = world
        self._ledger = ledger
        self._unposted = unposted
        self._packed: dict[int, tuple[int, bytes]] = {}

    def answer(self, call: RoutedRequest, headers: Mapping[str, str]) -> Response:
        """The answer of an EVE Ref in order."""
        if not _CONTACT.search(headers.get("User-Agent", "")):
            self._ledger.breach("third_party_agent", call.route, headers.get("User-Agent"))
        if call.route == "everef.totals":
            return Response(200, orjson.dumps(self._totals()))
        mails = [mail for mail in self._mails() if _day_of(mail) == call.subject]
        if not mails:
            return error(404, "Not found")
        count, packed = self._packed.get(call.subject, (0, b""))
        if count != len(mails):
            packed = bz2.compress(self.tar(mails))
            self._packed[call.subject] = (len(mails), packed)
        return Response(200, packed, content_type="application/x-bzip2")

    def _mails(self) -> list[WorldMail]:
        return [mail for mail in self._world.mails.values() if mail.killmail_id not in self._unposted]

    def _totals(self) -> dict[str, int]:
        return {str(day): count for day, count in sorted(Counter(map(_day_of, self._mails())).items())}

    def tar(self, mails: list[WorldMail]) -> bytes:
        """A day, not packed yet."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for mail in mails:
                document = orjson.loads(self._world.body_of(mail))
                document["killmail_hash"] = self._world.hash_of(mail)
                document["http_last_modified"] = http_date(mail.time)
                body = orjson.dumps(document)
                member = tarfile.TarInfo(f"killmails/{mail.killmail_id}.json")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
        return packed.getvalue()


def _day_of(mail: WorldMail) -> int:
    return int(datetime.fromtimestamp(mail.time, UTC).strftime("%Y%m%d"))
