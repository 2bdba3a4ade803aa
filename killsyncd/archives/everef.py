"""A day of EVE Ref's archive: a tar under bzip2 with one killmail a member (everef.net, "Killmails").

Read as a stream, a member at a time: memory does not grow with the day. A member is ESI's JSON with
`killmail_hash` and `http_last_modified` put in. What is no killmail is passed over and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from killsyncd.archives.tar_stream import tar_members
from killsyncd.core.errors import BadInput

MOST_MEMBER = 16_000_000
"""Bytes of a killmail; the largest fights of EVE make some two million."""

MOST_UNPACKED = 8 << 30
"""Bytes of a day, unpacked; the largest have some 200 MB."""

ADDED = ("killmail_hash", "http_last_modified")
"""What EVE Ref puts into ESI's JSON."""


class _Party(msgspec.Struct, gc=False):
    character_id: int | None = None
    corporation_id: int | None = None
    alliance_id: int | None = None


class _Mail(msgspec.Struct, gc=False):
    killmail_id: int
    victim: _Party
    attackers: list[_Party]
    killmail_hash: str | None = None


_decoder = msgspec.json.Decoder(_Mail)

LONGEST_SCOPE = 200
"""Characters of a scope that names its ids; it travels in addresses."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose killmails are kept: everybody's, or those with one of these on either side."""

    everybody: bool = False
    characters: frozenset[int] = frozenset()
    corporations: frozenset[int] = frozenset()
    alliances: frozenset[int] = frozenset()

    @property
    def scope(self) -> str:
        """The same as a short text, by which days that were read are known: many ids are their SHA-256."""
        if self.everybody:
            return "everybody"
        groups = (self.characters, self.corporations, self.alliances)
        text = "; ".join(
            f"{name} {' '.join(map(str, sorted(ids)))}"
            for name, ids in zip(("characters", "corporations", "alliances"), groups, strict=True)
            if ids
        )
        return text if len(text) <= LONGEST_SCOPE else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Archived:
    """A member. killmail_id: None where it is no killmail. wanted: whether it is to be kept."""

    raw: bytes
    killmail_id: int | None
    killmail_hash: str | None
    wanted: bool


def members(path: Path, wanted: Wanted) -> Iterator[Archived]:
    """Every member of a day. Raises BadInput where the archive is none, or ends in the middle."""
    unpacked = 0
    try:
        for size, raw in tar_members(path, MOST_MEMBER):
            unpacked += size
            if unpacked > MOST_UNPACKED:
                raise BadInput("the archive is longer than any day can be")
            yield look(raw or b"", wanted)
    except (OSError, EOFError, ValueError) as error:
        raise BadInput(f"the archive cannot be read to its end ({type(error).__name__})") from None


def look(raw: bytes, wanted: Wanted) -> Archived:
    """What a member is, and whether it is to be kept."""
    try:
        mail = _decoder.decode(raw)
    except msgspec.MsgspecError:
        return Archived(raw, None, None, False)
    return Archived(raw, mail.killmail_id, mail.killmail_hash, wanted.everybody or _on_it(mail, wanted))


def _on_it(mail: _Mail, wanted: Wanted) -> bool:
    characters, corporations, alliances = wanted.characters, wanted.corporations, wanted.alliances
    for party in (mail.victim, *mail.attackers):
        if (
            party.character_id in characters
            or party.corporation_id in corporations
            or party.alliance_id in alliances
        ):
            return True
    return False


def import_line(archived: Archived) -> bytes:
    """A killmail as `killsyncd import` takes it: ESI's JSON with `killmail_hash`, on one line."""
    document = orjson.loads(archived.raw)
    document.pop("http_last_modified", None)
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def totals(body: bytes) -> dict[int, int]:
    """How many killmails each day (YYYYMMDD) has. Raises BadInput where that cannot be told."""
    try:
        found = msgspec.json.decode(body, type=dict[str, int])
    except msgspec.MsgspecError:
        raise BadInput("EVE Ref's list of days cannot be read") from None
    return {int(day): count for day, count in found.items() if day.isdigit() and len(day) == 8}


def pairs(body: bytes) -> tuple[list[tuple[int, str]], int]:
    """Ids and hashes of a day of zKillboard's, and how many could not be read. Raises BadInput."""
    try:
        rows = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        raise BadInput("zKillboard's day is no object of ids and hashes") from None
    good, bad = [], 0
    for killmail_id, raw in rows.items():
        digits = bytes(raw).strip(b' "')
        if killmail_id.isdigit() and len(killmail_id) < 19 and len(digits) == 40 and digits.isalnum():
            good.append((int(killmail_id), digits.decode("ascii", "replace").lower()))
        else:
            bad += 1
    return good, bad
