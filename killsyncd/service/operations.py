"""What `killsyncd ctl`, GraphQL and the dashboard share: one class, the same words for all three."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from killsyncd.auth.login import LoggedIn, Logins, PendingLogin
from killsyncd.auth.login_state import LoginOrigin, LoginReturn, LoginState
from killsyncd.auth.revoker import Revoker
from killsyncd.core.clock import Clock
from killsyncd.core.errors import NotFound, UsageError
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import get_logger
from killsyncd.core.model import (
    PRIORITY_LOGIN,
    PRIORITY_MANUAL,
    Origin,
    Queued,
    User,
    UserState,
)
from killsyncd.core.tasks import SeenThrough
from killsyncd.service.esi_view import EsiView
from killsyncd.service.health import Health
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.results import (
    Explained,
    Failed,
    FeedLine,
    LoggedOut,
    LoginEnded,
    PauseChanged,
    Retried,
    StatusReport,
    Unreadable,
    Verified,
    VerifiedCorporation,
)
from killsyncd.service.source_operations import SourceOperations
from killsyncd.service.status import DAEMON_SWITCH, PRODUCER_SWITCH, OperationsSettings, StatusReporter
from killsyncd.service.wording import NOBODY_REMEDY, after_login, queue_reason, waiting_for_budget

MAX_SELECTORS = 10_000
KEPT_OUTCOMES = 1000
FEED_START = "start"
"""Instead of a cursor: the feed from its first mail on."""

WATCH_BATCH = 100
WATCH_LOOK_AGAIN = 15.0
"""Seconds after which the feed is read although no event said that it has grown."""


class Operations:
    """The use cases. One a process; every method may be called at any time, also while the daemon drains.

    esi, logins, revoker: None where a process has none (tests, commands).

    What changes something goes on to its end, also where the caller is cancelled: a client that hung up has
    asked for it all the same. `run` it as a worker, and `aclose` it.

    Raises, from any method: NotFound, UsageError, BadInput, Unavailable (database, SSO).
    """

    def __init__(
        self,
        storage: OperationsStorage,
        settings: OperationsSettings,
        events: Events,
        health: Health,
        clock: Clock,
        *,
        esi: EsiView | None = None,
        logins: Logins | None = None,
        revoker: Revoker | None = None,
    ) -> None:
        self._reporter = StatusReporter(storage, settings, health, clock, esi)
        self._rows = storage.rows
        self._users = storage.users
        self._ledger = storage.ledger
        self._names = storage.names
        self._events = events
        self._clock = clock
        self.skip_within = settings.skip_within
        self._logins = logins
        self._revoker = revoker
        self._log = get_logger(__name__)
        self._esi = esi
        self._outcomes: dict[str, LoginEnded] = {}
        self._changing = SeenThrough("change")
        self.sources = SourceOperations(
            storage.sources, events, self._changing, skip_within=settings.skip_within
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """See out the changes that are under way when the daemon stops."""
        await self._changing.run(stopping)

    async def aclose(self) -> None:
        """Cut short the changes that are still under way."""
        await self._changing.aclose()

    # -- looking -----------------------------------------------------------------------------------

    async def status(self) -> StatusReport:
        """Is it syncing, and if not, why. Cheap enough to be asked every second; never asks ESI."""
        return await self._reporter.report()

    async def users(self) -> list[User]:
        """Everybody, by name."""
        return await self._users.all()

    async def user(self, selector: str) -> User:
        """The user of this name (any case), character id or our id. Raises NotFound, UsageError."""
        return (await self._select([selector]))[0]

    async def failed(self, limit: int = 1000) -> list[Failed]:
        """Quarantined mails with the reason, the newest first."""
        return await self._rows.failed(limit)

    async def unreadable(self, limit: int = 1000) -> list[Unreadable]:
        """Entries of lists that cannot be read, the latest first."""
        return await self._rows.unreadable(limit)

    async def verify(self, selector: str | None = None) -> list[Verified]:
        """What can be claimed for each character, or for one."""
        chosen = [await self.user(selector)] if selector is not None else await self.users()
        return await self._rows.verify([each.id for each in chosen])

    async def verify_corporations(self) -> list[VerifiedCorporation]:
        """What can be claimed for each corporation whose list is read, or was."""
        return await self._rows.verify_corporations()

    async def explain(self, killmail_id: int) -> Explained:
        """Where a mail came from, or why it is not here. An id nobody listed is an answer too."""
        return await self._rows.explain(killmail_id)

    async def feed_start(self, after: str | None) -> int:
        """The feed's position for a cursor, for `FEED_START`, or for None: its end, so only what comes.

        Raises BadInput for a cursor that is none, or from before a restore.
        """
        return 0 if after == FEED_START else await self._rows.feed_start(after)

    async def watch(self, after: str | None = None, *, fresh_only: bool = False) -> AsyncIterator[FeedLine]:
        """Each mail once, in order of storage, from `feed_start(after)` on, until it is closed."""
        async for line in self.follow(await self.feed_start(after), fresh_only=fresh_only):
            yield line

    async def follow(
        self, position: int, *, fresh_only: bool = False, names_patience: float = 0.0
    ) -> AsyncIterator[FeedLine]:
        """As `watch`, from a position. names_patience: seconds a few mails may wait for their names."""
        signal, named = Wakeup(), Wakeup()
        offs = [self._events.on("feed", signal.ring), self._events.on("named", named.ring)]
        try:
            while True:
                lines, reached = await self._rows.feed_after(position, WATCH_BATCH, fresh_only=fresh_only)
                patient_until = self._clock.monotonic() + names_patience
                while any(each.nameless for each in lines):
                    left = patient_until - self._clock.monotonic()
                    if left <= 0.0:
                        break
                    await named.wait(self._clock, left)
                    lines, reached = await self._rows.feed_after(position, WATCH_BATCH, fresh_only=fresh_only)
                position = reached
                for line in lines:
                    yield line
                if len(lines) < WATCH_BATCH:
                    await signal.wait(self._clock, WATCH_LOOK_AGAIN)
        finally:
            for off in offs:
                off()

    # -- asking for syncs --------------------------------------------------------------------------

    async def queue(
        self,
        selectors: Sequence[str] | None = None,
        *,
        force: bool = False,
        full: bool = False,
        origin: Origin = Origin.MANUAL,
        priority: int = PRIORITY_MANUAL,
    ) -> list[Queued]:
        """Queue everybody who has not logged out, or these. Plain leaves out who was synced within
        `queue.skip_within`.

        selectors: names or character ids. force: leave nobody out, and ask the SSO soon for
        logins that it refused. full: read every page.
        Raises NotFound for a selector that is nobody, before anybody is queued.
        """
        return await self._changing.of(self._queue(selectors, force, full, origin, priority))

    async def _queue(
        self, selectors: Sequence[str] | None, force: bool, full: bool, origin: Origin, priority: int
    ) -> list[Queued]:
        if selectors is None:
            chosen = [each for each in await self.users() if each.state is not UserState.LEFT]
        else:
            chosen = await self._select(selectors)
        rows = await self._users.queue(
            [each.id for each in chosen],
            priority,
            origin,
            skip_within=None if force else self.skip_within,
            full=full,
        )
        done = [replace(row, reason=queue_reason(row.user, row.reason)) for row in rows]
        if self._esi is not None and any(each.queued for each in done):
            budgets = await self._esi.budgets()
            done = [waiting_for_budget(each, budgets) for each in done]
        if any(each.queued for each in done):
            self._events.tell("wants")
        if force:
            self._events.tell("grants")
        return done

    async def retry(self, ids: Sequence[int] | None = None, *, names: bool = False) -> Retried:
        """Put quarantined mails back, all or these; pending ones among these are tried at once.

        names: ask for missing names again; then mails are put back only where some are named.
        """
        return await self._changing.of(self._retry(ids, names))

    async def _retry(self, ids: Sequence[int] | None, names: bool) -> Retried:
        done = [] if names and not ids else await self._ledger.retry(ids)
        if done:
            self._events.tell("refs")
        nameless = await self._names.retry() if names else 0
        if nameless:
            self._events.tell("names")
            self._events.tell("names-again")
        return Retried(sorted(done), sorted(set(ids or ()) - set(done)), nameless)

    # -- switches ----------------------------------------------------------------------------------

    async def pause(
        self, *, producer: bool = False, users: Sequence[str] | None = None
    ) -> list[PauseChanged]:
        """Stop everything, the producer alone, or these users. It survives a restart."""
        return await self._changing.of(self._switch(producer, users, on=True))

    async def resume(
        self, *, producer: bool = False, users: Sequence[str] | None = None
    ) -> list[PauseChanged]:
        """Undo `pause`. Without further words both daemon and producer go on; users only when named."""
        return await self._changing.of(self._switch(producer, users, on=False))

    async def _switch(self, producer: bool, users: Sequence[str] | None, *, on: bool) -> list[PauseChanged]:
        done: list[PauseChanged] = []
        for each in await self._select(users) if users else []:
            changed = each.paused is not on and await self._users.pause(each.id, paused=on)
            done.append(PauseChanged(each.character_name, on, changed))
        names: list[str] = []
        if producer:
            names = [PRODUCER_SWITCH]
        elif not users:
            names = [DAEMON_SWITCH] if on else [DAEMON_SWITCH, PRODUCER_SWITCH]
        for name in names:
            done.append(PauseChanged(name, on, await self._rows.set_switch(name, on=on)))
        for each_done in done:
            if each_done.changed:
                self._log.info("paused" if on else "resumed", what=each_done.what)
        self._events.tell("switches")
        self._events.tell("wants")
        return done

    # -- logins ------------------------------------------------------------------------------------

    async def begin_login(self, origin: LoginOrigin) -> PendingLogin:
        """An address at the SSO, for whoever begins the login. Raises Unavailable."""
        return await self._need_logins().begin(origin)

    async def finish_login(
        self, at: LoginReturn, query: Mapping[str, str], cookie: str | None = None
    ) -> LoginEnded:
        """The pilot is back with what the SSO redirected with: store the grant, queue a sync.

        query: with `code` and `state`, or `error`. Raises LoginRefused, Unavailable.
        """
        return await self._changing.of(self._logged_in(self._need_logins().finish_query(at, query, cookie)))

    async def finish_pasted(self, url: str) -> LoginEnded:
        """As `finish_login`, with the address from the pilot's browser. Raises LoginRefused, Unavailable."""
        return await self._changing.of(self._logged_in(self._need_logins().finish_redirect(url)))

    async def login_status(self, login_id: str) -> LoginEnded:
        """How far a login is that `begin_login` began, by its `login_id`."""
        status = await self._need_logins().status(login_id)
        if status.state is not LoginState.DONE or status.user_id is None:
            return LoginEnded(status.state, status.message)
        ended = self._outcomes.get(status.user_id)
        # Finished in another daemon, or this very moment: what it queued is in the user's own row.
        return ended or LoginEnded(status.state, status.message, await self._users.get(status.user_id))

    async def _logged_in(self, finishing: Coroutine[Any, Any, LoggedIn]) -> LoginEnded:
        """A login and what follows: a sync at priority 8, unless one ended within `queue.skip_within`."""
        login = await finishing
        self._events.tell("grants")
        user, queued, message = await self._users.get(login.user_id), False, login.message
        if login.state is UserState.OK:
            rows = await self._users.queue(
                [login.user_id], PRIORITY_LOGIN, Origin.LOGIN, skip_within=self.skip_within
            )
            for row in rows:
                user, queued = row.user, row.queued
                message = f"{login.message}; {after_login(row)}"
                who = {"character": row.user.character_name, "character_id": row.user.character_id}
                event = "queued after login" if queued else "skipped character queue"
                self._log.info(event, reason=row.reason, mode=row.mode, **who)
        if queued:
            self._events.tell("wants")
        ended = LoginEnded(LoginState.DONE, message, user, queued, login.created)
        self._outcomes[login.user_id] = ended
        while len(self._outcomes) > KEPT_OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]
        return ended

    async def logout(self, selector: str, *, erase: bool = False) -> LoggedOut:
        """Forget a user's tokens and take the grant back at the SSO; erase: what only they brought goes too.

        Where the SSO does not confirm, the revocation stays, its token encrypted, and is tried again.
        """
        return await self._changing.of(self._logout(selector, erase))

    async def _logout(self, selector: str, erase: bool) -> LoggedOut:
        user = await self.user(selector)
        gone = await self._rows.logout(user.id, erase=erase)
        if gone is None:
            raise NotFound(f"{user.character_name} is gone already")
        who = {"character": user.character_name, "character_id": user.character_id}
        self._log.info("logged out", erased=erase, **who)
        for channel in ("grants", "wants", "refs"):
            self._events.tell(channel)
        revoked, message = True, "there was no grant to take back"
        if gone.revocation_id is not None:
            revoked = self._revoker is not None and await self._revoker.revoke_now(gone.revocation_id)
            message = (
                "the SSO has taken the grant back"
                if revoked
                else "the SSO has not confirmed yet; it is tried again by itself"
            )
        return LoggedOut(
            user.character_id,
            user.character_name,
            revoked,
            message,
            erase,
            gone.erased_killmails,
            gone.erased_pending,
        )

    def _need_logins(self) -> Logins:
        if self._logins is None:
            raise UsageError("this process has no logins", "ask the daemon: killsyncd login")
        return self._logins

    # -- helpers -----------------------------------------------------------------------------------

    async def _select(self, selectors: Sequence[str]) -> list[User]:
        """The users that are named, each once, in the order named."""
        if len(selectors) > MAX_SELECTORS:
            raise UsageError(f"more than {MAX_SELECTORS} users at once", "name none to mean everybody")
        chosen: dict[str, User] = {}
        for words in selectors:
            found = await self._users.find(words.strip())
            if len(found) > 1:
                ids = ", ".join(str(each.character_id) for each in found[:5])
                raise UsageError(f"{words!r} is the name of several users", f"name one by its id: {ids}")
            if not found:
                raise await self._nobody(words)
            chosen[found[0].id] = found[0]
        return list(chosen.values())

    async def _nobody(self, words: str) -> NotFound:
        everybody = await self.users()
        if not everybody:
            return NotFound(f"there is no user {words!r}", NOBODY_REMEDY)
        names = {each.character_name.lower(): each.character_name for each in everybody}
        near = difflib.get_close_matches(words.lower(), list(names), n=3, cutoff=0.6)
        hint = "killsyncd ctl users lists all"
        if near:
            hint = f"did you mean {' or '.join(repr(names[each]) for each in near)}? {hint}"
        return NotFound(f"there is no user {words!r}", hint)
