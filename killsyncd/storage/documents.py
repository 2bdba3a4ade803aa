"""The JSON of a killmail as it is stored: deflated (RFC 1950) with a dictionary of what every killmail says.

Seven tenths of a database were this text. `size` beside it is its length in bytes before; NULL where an older
release stored the text as it is, until `pack_documents` comes by. Decision 0023 has the figures.
"""

from __future__ import annotations

import zlib

from killsyncd.core.killmail import readable
from killsyncd.core.logging import get_logger

LEVEL = 3
MAX_BYTES = 64 << 20
"""No killmail is longer; a row that says so was not written by us."""

DICTIONARY = (
    b'"moon_id":4000,"war_id":75,"faction_id":5000},{"character_id":9,{"items":[{"flag":155,"item_type_id":,'
    b'"quantity_dropped":1,"singleton":2}],{"flag":89,"item_type_id":3,{"flag":92,"item_type_id":31,'
    b'"quantity_destroyed":1,"singleton":0},{"flag":87,"item_type_id":2,"quantity_destroyed":5,"singleton":0},'
    b'{"flag":5,"item_type_id":2,"quantity_dropped":10,"singleton":0},{"flag":11,"item_type_id":20,'
    b'"quantity_dropped":1,"singleton":0},{"flag":19,"item_type_id":3,"quantity_destroyed":1,"singleton":0},'
    b'{"flag":27,"item_type_id":1,"quantity_dropped":1,"singleton":0}{"corporation_id":1000,"damage_done":0,'
    b'"faction_id":500010,"final_blow":false,"security_status":0,"ship_type_id":{"attackers":[{"alliance_id":99,'
    b'"character_id":21,"corporation_id":98,"damage_done":1,"final_blow":false,"security_status":-10,'
    b'"ship_type_id":1,"weapon_type_id":2},{"alliance_id":99000000,"character_id":90000000,'
    b'"corporation_id":98000000,"damage_done":0,"final_blow":true,"security_status":5.0,"ship_type_id":670,'
    b'"weapon_type_id":3}],"killmail_id":1,"killmail_time":"2026-10-00T20:00:00Z","solar_system_id":3000,'
    b'"victim":{"alliance_id":99,"character_id":2,"corporation_id":98,"damage_taken":,"items":[{"flag":,'
    b'"position":{"x":-1,"y":-,"z":},"ship_type_id":}}'
)
"""Never to be changed: what is stored can be read with it alone. Its Adler-32 stands in each stored text, so
a better one can come beside it."""

log = get_logger(__name__)


def pack(raw: bytes) -> tuple[bytes, int]:
    """What is stored of a text, and its length in bytes before."""
    deflate = zlib.compressobj(LEVEL, zdict=DICTIONARY)
    return deflate.compress(raw) + deflate.flush(), len(raw)


def unpack(stored: bytes, size: int | None) -> bytes:
    """The text again. size: as `pack` gave it; None where the text is stored as it is.

    Raises ValueError where it is not what `pack` made: a damaged file, or a row of somebody else's.
    """
    if size is None:
        return stored
    if not 0 <= size <= MAX_BYTES:
        raise ValueError(f"a killmail of {size} bytes")
    inflate = zlib.decompressobj(zdict=DICTIONARY)
    try:
        # One byte more than it may have: what is longer is noticed and not unpacked.
        raw = inflate.decompress(stored, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) != size or not inflate.eof:
        raise ValueError(f"a killmail of {size} bytes whose stored text holds another length")
    return raw


def document_of(killmail_id: int, stored: bytes, size: int | None) -> bytes:
    """A stored text for an answer or a file: JSON in any case, `{}` where it is damaged (the log tells)."""
    try:
        return readable(unpack(stored, size))
    except ValueError as error:
        log.error(
            "the stored JSON of a killmail is damaged: the database file is, restore a backup",
            killmail_id=killmail_id,
            error=str(error),
        )
        return b"{}"
