"""zKillboard's answers, decoded: ids and hashes, nothing else. What is bad on one hides nothing good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from killsyncd.core.errors import BadInput
from killsyncd.core.killmail import is_hash
from killsyncd.zkillboard.walk import ListedPage

LARGEST_ID = 2**63 - 1
LARGEST_SEQUENCE = 2**53
"""Of the stream's files: far beyond any, and far enough from what a database's number can hold."""


class _Zkb(msgspec.Struct, gc=False):
    hash: str | None = None


class _Entry(msgspec.Struct, gc=False):
    killmail_id: int
    zkb: _Zkb


class _Party(msgspec.Struct, gc=False):
    character_id: int | None = None
    corporation_id: int | None = None


class _Mail(msgspec.Struct, gc=False):
    victim: _Party
    attackers: list[_Party]


class _File(msgspec.Struct, gc=False):
    killmail_id: int
    esi: _Mail
    hash: str | None = None
    zkb: _Zkb | None = None


class _Sequence(msgspec.Struct, gc=False):
    sequence: int


_page = msgspec.json.Decoder(list[msgspec.Raw])
_entry = msgspec.json.Decoder(_Entry)
_file = msgspec.json.Decoder(_File)
_sequence = msgspec.json.Decoder(_Sequence)


@dataclass(frozen=True, slots=True)
class StreamFile:
    """A mail of the stream. involved: ids of all characters and corporations on it."""

    killmail_id: int
    killmail_hash: str
    involved: frozenset[int]


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises where the text is no JSON, or no such JSON, or nested too deeply."""


def read_page(body: bytes) -> ListedPage:
    """A page of a list. Raises BadInput where it is none, or nothing on it can be read."""
    try:
        rows: Sequence[msgspec.Raw] = _page.decode(body)
    except _UNREADABLE:
        raise BadInput("zKillboard's list is no list in JSON") from None
    entries, bad = [], 0
    for row in rows:
        try:
            entry = _entry.decode(row)
            entries.append(_pair(entry.killmail_id, entry.zkb.hash))
        except (*_UNREADABLE, BadInput):
            bad += 1
    if bad and not entries:
        raise BadInput(f"none of the {bad} entries of zKillboard's list can be read")
    return ListedPage(entries, bad)


def read_file(body: bytes) -> StreamFile:
    """A file of the stream. Raises BadInput where it is none."""
    try:
        found = _file.decode(body)
    except _UNREADABLE:
        raise BadInput("a file of zKillboard's stream is not what it should be") from None
    killmail_id, killmail_hash = _pair(
        found.killmail_id, found.hash or (found.zkb.hash if found.zkb else None)
    )
    parties = [found.esi.victim, *found.esi.attackers]
    involved = {each.character_id for each in parties} | {each.corporation_id for each in parties}
    return StreamFile(killmail_id, killmail_hash, frozenset(each for each in involved if each is not None))


def read_sequence(body: bytes) -> int:
    """The number of the stream's last file. Raises BadInput."""
    try:
        number = _sequence.decode(body).sequence
    except _UNREADABLE:
        number = -1
    if not 0 <= number <= LARGEST_SEQUENCE:
        raise BadInput("zKillboard's stream does not say how far it is")
    return number


def _pair(killmail_id: int, killmail_hash: str | None) -> tuple[int, str]:
    text = (killmail_hash or "").lower()
    if not 0 < killmail_id <= LARGEST_ID or not is_hash(text):
        raise BadInput("no id and hash of a killmail")
    return killmail_id, text
