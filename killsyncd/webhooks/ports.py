"""What webhooks need of the database and of GraphQL; `storage/repositories` and `api` fill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from killsyncd.core.read_model import Attacker, FeedSlice, Mail, Victim
from killsyncd.webhooks.model import (
    Delivery,
    Ours,
    PaceWindow,
    Place,
    SetAside,
    ShipKind,
    Sides,
    WebhookState,
)

LEASE_SECONDS = 8.0
"""After so many seconds without a sign of life another daemon takes a webhook over."""

RENEW_SECONDS = 2.0


class WebhookRows(Protocol):
    """How far webhooks are. Everything raises Unavailable."""

    async def register(self, name: str, kind: str, mark: int) -> bool:
        """Make a row that begins at the feed's end, unless there is one.

        mark: by which its address is known again. Answers whether one that had stopped goes on, since its
        address is another one.
        """

    async def forget_others(self, names: Sequence[str], silent_for: float) -> dict[str, int]:
        """Forget webhooks that are not among these and that nobody delivered for so long; answers which, and
        how many mails of the feed each had not settled."""

    async def claim(self, name: str, lease: float) -> WebhookState | None:
        """Take it, or keep it. None: another daemon has it."""

    async def renew(self) -> None:
        """Say that we live, for all that we hold."""

    async def release(self, name: str) -> None:
        """Let another daemon have it."""

    async def advance(self, name: str, before: int, position: int) -> None:
        """Everything up to this position is settled: what stands between was left out by the filter.

        before: the position as it was read; where a replay has put it back since, nothing changes.
        """

    async def begin(
        self,
        name: str,
        killmail_id: int,
        before: int,
        position: int,
        pace: Sequence[PaceWindow],
    ) -> float | None:
        """Write down that this mail is about to be sent. Answers 0, or the seconds to wait for the pace.

        before: the position as it was read. position: everything up to it is settled. None: it is not ours
        any more, or somebody paused it or put it back.
        """

    async def count_request(self, name: str, pace: Sequence[PaceWindow]) -> float:
        """Count a request that belongs to no mail's delivery. Answers 0, or the seconds to wait for the
        pace, and for what the other side asked for.
        """

    async def noted(self, name: str, wait: float, channel: str | None) -> None:
        """What came of such a request. wait: seconds before the next one may leave."""

    async def doubt(self, name: str) -> None:
        """We took over while a request was under way: it may have arrived just now."""

    async def settle(
        self,
        name: str,
        killmail_id: int,
        before: int,
        position: int,
        *,
        message_id: str | None = None,
        channel: str | None = None,
        refused: str | None = None,
        wait: float = 0.0,
    ) -> None:
        """It was delivered, or (refused) set aside. wait: seconds before the next request may leave."""

    async def failed(self, name: str, error: str, wait: float, *, counts: bool, doubtful: bool) -> None:
        """Nothing came of it. counts: as a failed attempt. doubtful: this request, or one before it for the
        same mail, may have arrived."""

    async def hold_up(self, name: str, wait: float, *, everybody: bool) -> None:
        """The other side asked for a pause of the whole channel, or of everybody."""

    async def stop(self, name: str, error: str, wait: float, *, doubtful: bool) -> None:
        """The other side refuses everything. wait: seconds until it is tried once more; 0: never. doubtful:
        as for `failed`."""

    async def all(self) -> list[WebhookState]:
        """Every webhook that has a row, by name."""

    async def deliveries(self, name: str, ids: Sequence[int]) -> dict[int, Delivery]:
        """What became of these mails; absent are those that were left out or are still to come."""

    async def set_aside(self, name: str, limit: int) -> list[Delivery]:
        """The last mails that the other side refused for good."""

    async def set_aside_since(self, seconds: float) -> dict[str, SetAside]:
        """What was refused in the last so many seconds, by webhook."""

    async def last_settled(self, position: int, limit: int) -> list[int]:
        """The last mails up to a position, the newest first."""

    async def pause(self, name: str) -> bool:
        """Stop delivering. False: it was paused already."""

    async def resume(self, name: str) -> bool:
        """Go on after a pause or a stop, and at once after failures. False: nothing held it up."""

    async def replay(self, name: str, since: float) -> int:
        """Go through what was killed since then once more; answers how many mails that may be."""


class WebhookMails(Protocol):
    """What filters and messages need of mails."""

    async def our_side(self) -> Ours: ...
    async def characters_of(self, ids: Sequence[int]) -> dict[int, Sides]: ...
    async def corporations_of(self, ids: Sequence[int]) -> dict[int, Sides]: ...
    async def places(self, systems: Sequence[int]) -> dict[int, Place]: ...
    async def ships(self, types: Sequence[int]) -> dict[int, ShipKind]: ...
    async def values(self, ids: Sequence[int]) -> dict[int, float]: ...
    async def nameless(self, killmail_id: int) -> int: ...
    async def has_prices(self) -> bool: ...
    async def has_static_data(self) -> bool: ...
    async def find(self, what: str, word: str) -> list[int]: ...
    async def names_of(self, what: str) -> list[str]: ...


class MailReader(Protocol):
    """Stored mails and the feed, as `KillmailSearch` reads them."""

    async def mails(self, ids: Sequence[int]) -> dict[int, Mail]: ...
    async def victims(self, ids: Sequence[int]) -> dict[int, Victim]: ...
    async def final_blows(self, ids: Sequence[int]) -> dict[int, Attacker]: ...
    async def names(self, ids: Sequence[int]) -> dict[int, str]: ...
    async def feed_after(
        self,
        position: int,
        limit: int,
        *,
        characters: frozenset[int] | None = None,
        fresh_only: bool = False,
        killed_since: datetime | None = None,
    ) -> FeedSlice: ...


class MailDocuments(Protocol):
    """Mails as GraphQL gives them."""

    async def of(self, killmail_id: int) -> Mapping[str, Any]:
        """A mail without `raw` and `killmailHash`. Raises Unavailable, NotFound."""
