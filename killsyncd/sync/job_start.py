"""What a job begins with, read by the transaction that claims it: a poll without news reads nothing more."""

from __future__ import annotations

from dataclasses import dataclass

from killsyncd.auth.grant import GrantRow
from killsyncd.core.model import PageState, Walk
from killsyncd.sync.walk import SourceState


@dataclass(frozen=True, slots=True)
class JobStart:
    """source, walk: how far the list was read, and the walk that goes on.

    page: what is known of the walk's next page. grant: of the pilot whose token asks.
    """

    source: SourceState
    walk: Walk
    page: PageState | None
    grant: GrantRow | None
