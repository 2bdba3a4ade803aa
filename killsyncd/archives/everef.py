"""A day of EVE Ref's archive: a tar under bzip2 with one killmail a member (everef.net, "Killmails").

Read as a stream, a member at a time: memory does not grow with the day. A member is ESI's JSON with
`killmail_hash` and `http_last_modified` put in. What is no killmail is passed over and counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import orjson

from killsyncd.archives.tar_stream import TooLong, tar_members
from killsyncd.core.errors import BadInput
from killsyncd.core.killmail import is_hash

MOST_MEMBER = 16_000_000
"""Bytes of a killmail; the largest fights of EVE make some two million."""

MOST_UNPACKED = 8 << 30
"""Bytes of a day, unpacked; the largest have some 200 MB."""


_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Party(msgspec.Struct, gc=False):
    character_id: int | None = None
    corporation_id: int | None = None
    alliance_id: int | None = None


class _Mail(msgspec.Struct, gc=False):
    killmail_id: _Id
    victim: _Party
    attackers: list[_Party]
    killmail_hash: Annotated[str, msgspec.Meta(max_length=40)] | None = None


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
    try:
        for raw in tar_members(path, MOST_MEMBER, MOST_UNPACKED):
            yield look(raw or b"", wanted)
    except TooLong:
        raise BadInput("the archive is longer than any day can be") from None
    except (OSError, EOFError, ValueError) as error:
        raise BadInput(f"the archive cannot be read to its end ({type(error).__name__})") from None


def look(raw: bytes, wanted: Wanted) -> Archived:
    """What a member is, and whether it is to be kept."""
    try:
        mail = _decoder.decode(raw)
    except _UNREADABLE:
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
    """A killmail as `killsyncd import` takes it: ESI's JSON with `killmail_hash`, on one line.

    Raises BadInput where it is no JSON throughout: `look` reads no more than it needs.
    """
    try:
        document = orjson.loads(archived.raw)
    except orjson.JSONDecodeError:
        raise BadInput("a killmail of the archive is no JSON") from None
    document.pop("http_last_modified", None)
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def totals(body: bytes) -> dict[int, int]:
    """How many killmails each day (YYYYMMDD) has. Raises BadInput where that cannot be told."""
    try:
        found = msgspec.json.decode(body, type=dict[str, _Count])
    except _UNREADABLE:
        raise BadInput("EVE Ref's list of days cannot be read") from None
    return {int(day): count for day, count in found.items() if re.fullmatch(r"[0-9]{8}", day)}


def pairs(body: bytes) -> tuple[list[tuple[int, str]], int]:
    """Ids and hashes of a day of zKillboard's, and how many could not be read. Raises BadInput."""
    try:
        rows = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        raise BadInput("zKillboard's day is no object of ids and hashes") from None
    good, bad = [], 0
    for killmail_id, raw in rows.items():
        digits = bytes(raw).strip(b' "').decode("ascii", "replace").lower()
        if re.fullmatch(r"[0-9]{1,18}", killmail_id) and is_hash(digits):
            good.append((int(killmail_id), digits))
        else:
            bad += 1
    return good, bad
