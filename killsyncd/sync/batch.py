"""Killmails on their way from ESI, or from a file, into the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from killsyncd.core.killmail import Killmail
from killsyncd.core.model import Ref, StoredMail


@dataclass(slots=True)
class Delivery:
    """What ESI answered for a pending mail, not decoded yet. at: when, seconds since 1970."""

    ref: Ref
    raw: bytes = field(repr=False)
    at: float


@dataclass(slots=True)
class Arrival:
    """A mail to be stored: decoded, and the JSON as it came. at: when it came, seconds since 1970."""

    killmail: Killmail = field(repr=False)
    killmail_hash: str = field(repr=False)
    raw: bytes = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch. `known`: stored before, or not pending any more."""

    mails: list[StoredMail]
    known: list[int]
    refused: list[tuple[int, str]]

    @classmethod
    def together(cls, parts: Sequence[Stored]) -> Stored:
        """What became of a batch that was stored in parts."""
        return cls(
            [mail for part in parts for mail in part.mails],
            [each for part in parts for each in part.known],
            [each for part in parts for each in part.refused],
        )
