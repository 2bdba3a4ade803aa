"""What people do with sources: see them, have them read now, stop and restart them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from killsyncd.core.errors import NotFound, UsageError
from killsyncd.core.events import Events
from killsyncd.core.logging import get_logger
from killsyncd.core.model import PRIORITY_MANUAL, Origin, QueuedSource, SourceKind
from killsyncd.core.sources import SourceState, SourceView
from killsyncd.core.tasks import SeenThrough
from killsyncd.service.ports import SourceRows
from killsyncd.service.results import PauseChanged

MAX_SELECTORS = 1_000
LIST = "killsyncd ctl sources lists those there are"
NO_CORPORATIONS = "no corporation's list is known: [corporations] enabled = true, and a Director logs in"


class SourceOperations:
    """A part of `Operations`. Raises, from any method: NotFound, UsageError, Unavailable (the database)."""

    def __init__(
        self, rows: SourceRows, events: Events, changing: SeenThrough, *, skip_within: float
    ) -> None:
        self._rows = rows
        self._events = events
        self._changing = changing
        self._skip_within = skip_within
        self._log = get_logger(__name__)

    async def all(self, kind: SourceKind | None = None) -> list[SourceView]:
        """Every list that killmails come from, or those of a kind."""
        found = await self._rows.all(kind)
        if kind in (None, SourceKind.CORPORATION):
            found += await self._rows.npc_corporations()
        return sorted(found, key=lambda each: each.source.kind.value)

    async def some(self, source_ids: Sequence[int]) -> list[SourceView]:
        """These, by the ids of their rows."""
        return await self._rows.some(source_ids)

    async def of_killmails(self, killmail_ids: Sequence[int]) -> dict[int, list[SourceView]]:
        """Through which sources each of these mails came."""
        found = await self._rows.of_killmails(killmail_ids)
        ids = sorted({each for sources in found.values() for each in sources})
        views = {each.id: each for each in await self._rows.some(ids)} if ids else {}
        return {mail: [views[each] for each in sources if each in views] for mail, sources in found.items()}

    async def find(self, words: str, kind: SourceKind | None = None) -> SourceView:
        """The source with this subject, by its id or name (any case)."""
        found = await self._rows.find(words.strip(), kind)
        if len(found) > 1:
            ids = ", ".join(f"{each.source.kind} {each.source.subject_id}" for each in found[:5])
            raise UsageError(f"{words!r} is the subject of several sources", f"name one by its id: {ids}")
        if not found:
            raise await self._unknown(words, kind)
        return found[0]

    async def queue(
        self, corporations: Sequence[str] | None = None, *, force: bool = False, full: bool = False
    ) -> list[QueuedSource]:
        """Have corporations' lists read at priority 5, all or these, by name or id.

        force: also those that were read a moment ago. full: read every page. Nothing is queued where one
        of them is unknown.
        """
        return await self._changing.of(self._queue(corporations, force, full))

    async def _queue(self, corporations: Sequence[str] | None, force: bool, full: bool) -> list[QueuedSource]:
        if corporations is None:
            chosen = await self._rows.all(SourceKind.CORPORATION)
        else:
            chosen = await self._select(corporations)
        if not chosen:
            return []
        done = await self._rows.queue(
            [each.id for each in chosen],
            PRIORITY_MANUAL,
            Origin.MANUAL,
            skip_within=None if force else self._skip_within,
            full=full,
        )
        if any(each.queued for each in done):
            self._events.tell("wants")
        return done

    async def pause(self, corporations: Sequence[str], *, paused: bool) -> list[PauseChanged]:
        """Stop or restart these corporations' lists; nobody's own list is touched by it."""
        return await self._changing.of(self._pause(corporations, paused))

    async def _pause(self, corporations: Sequence[str], paused: bool) -> list[PauseChanged]:
        done = []
        for each in await self._select(corporations):
            is_paused = each.state is SourceState.PAUSED
            changed = is_paused is not paused and await self._rows.pause(each.id, paused=paused)
            done.append(PauseChanged(each.label, paused, changed))
            if changed:
                self._log.info("paused" if paused else "resumed", what=each.label)
        self._events.tell("wants")
        return done

    async def _select(self, corporations: Sequence[str]) -> list[SourceView]:
        if len(corporations) > MAX_SELECTORS:
            raise UsageError(f"more than {MAX_SELECTORS} corporations at once", "name none to mean all")
        chosen: dict[int, SourceView] = {}
        for words in corporations:
            found = await self.find(words, SourceKind.CORPORATION)
            chosen[found.id] = found
        return list(chosen.values())

    async def _unknown(self, words: str, kind: SourceKind | None) -> NotFound:
        what = "source" if kind is None else kind.value
        known = await self._rows.all(kind)
        if not known and kind is SourceKind.CORPORATION:
            return NotFound(f"there is no corporation {words!r}", NO_CORPORATIONS)
        names = {each.name.lower(): each.name for each in known if each.name}
        near = difflib.get_close_matches(words.lower(), list(names), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(repr(names[each]) for each in near)}? {LIST}" if near else LIST
        return NotFound(f"there is no {what} {words!r}", hint)
