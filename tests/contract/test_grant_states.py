"""A pilot's grant against a small model, in any order of what can happen to it (Hypothesis).

The model is the SSO: it rotates, so that one refresh token alone is good, the one it gave last. Whatever two
daemons, logins, refusals and crashes do, the stored token must be that one, unless the answer that brought
it was lost; and whoever holds an old version changes nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from killsyncd.auth.grant import GrantRow, NewGrant
from killsyncd.core.model import UserState
from tests.support.state_machine import SEVERAL, DatabaseMachine

CHARACTER = 90_000_001
LIFE = 1200.0


class Grant(DatabaseMachine):
    """Two daemons and one pilot. A daemon remembers the row with which its attempt began."""

    def __init__(self) -> None:
        super().__init__()
        self.serial = 0
        self.good = b""
        """The refresh token that the SSO takes."""
        self.holder: int | None = None
        self.attempts: dict[int, GrantRow] = {}
        """Attempts under way, by daemon: as the row was when they began."""
        self.versions: set[int] = set()
        self.unanswered = 0
        self.refusals = 0
        self.state = UserState.OK
        self.daemons = [self.daemon(name) for name in ("a", "b")]
        self.user = ""
        self.log_in()

    def row(self) -> GrantRow:
        row = self.run(self.world.grants.load(self.user))
        assert row is not None
        return row

    def rotate(self) -> bytes:
        self.serial += 1
        self.good = f"refresh-{self.serial}".encode()
        return self.good

    def stored(self) -> None:
        """The store holds what the SSO gave last; nothing is under way in its eyes."""
        self.unanswered = self.refusals = 0
        row = self.row()
        assert row.version not in self.versions, "a version came again"
        self.versions.add(row.version)

    @rule()
    def log_in(self) -> None:
        """The pilot logs in (again): whoever refreshes meanwhile has lost."""
        at = self.run(self.world.now())
        registered = self.run(
            self.world.grants.register(
                NewGrant(
                    CHARACTER,
                    "Pilot",
                    "owner",
                    frozenset(),
                    UserState.OK,
                    None,
                    b"access",
                    self.rotate(),
                    at + LIFE,
                    at + LIFE / 2,
                )
            )
        )
        self.user = registered.user_id
        self.state, self.holder = UserState.OK, None
        self.stored()

    @rule(daemon=st.sampled_from([0, 1]))
    def begin(self, daemon: int) -> None:
        """A daemon takes the lease with the version it has read; another's lease keeps it out."""
        before = self.row()
        begun = self.run(
            self.world.grants.begin_attempt(self.user, holder=self.daemons[daemon], version=before.version)
        )
        if before.refresh_token_enc is None or self.state is UserState.OWNER_CHANGED:
            assert begun is None
            return
        assert (begun is not None) == (self.holder in (None, daemon))
        if begun is not None:
            self.holder, self.attempts[daemon] = daemon, begun
            self.unanswered += 1

    @precondition(lambda self: bool(self.attempts))
    @rule(data=st.data())
    def renewed(self, data: st.DataObject) -> None:
        """The SSO takes the token and gives another, which is stored whatever the state is by now."""
        daemon, row = self.draw_attempt(data)
        if row.refresh_token_enc != self.good:
            return  # it would have been refused
        sent, new, version = self.good, self.rotate(), row.version
        if not self.store(daemon, version, new):
            now = self.row()
            assert now.version != version
            # As `TokenRefresh` has it: what is stored is dead, and nobody else has the new one.
            assert now.refresh_token_enc == sent
            assert self.store(daemon, now.version, new)
        if self.state is UserState.NEEDS_LOGIN:
            self.state = UserState.OK
        self.release_lease(daemon)
        self.stored()

    def store(self, daemon: int, version: int, token: bytes) -> bool:
        at = self.run(self.world.now())
        kept = self.world.grants.store_tokens(
            self.user,
            holder=self.daemons[daemon],
            version=version,
            access_token_enc=b"access",
            refresh_token_enc=token,
            expires_at=at + LIFE,
            renew_at=at + LIFE / 2,
        )
        return self.run(kept) is not None

    @precondition(lambda self: bool(self.attempts))
    @rule(data=st.data(), unanswered=st.booleans(), refused=st.booleans())
    def failed(self, data: st.DataObject, unanswered: bool, refused: bool) -> None:
        """No tokens came. An answer that got lost leaves its attempt counted: it may have rotated."""
        daemon, row = self.draw_attempt(data)
        refused = refused and not unanswered
        current = row.version == self.row().version
        at = self.run(self.world.now())
        noted = self.run(
            self.world.grants.record_failure(
                self.user,
                holder=self.daemons[daemon],
                version=row.version,
                unanswered=unanswered,
                refused_at=at if refused else None,
                not_before=at + 60.0,
            )
        )
        assert noted == current
        if current:
            self.release_lease(daemon)
            self.unanswered -= not unanswered
            self.refusals += refused

    @precondition(lambda self: bool(self.attempts))
    @rule(data=st.data())
    def given_up(self, data: st.DataObject) -> None:
        """The attempt is not made after all; it may have left, so it stays counted."""
        daemon, _ = self.draw_attempt(data)
        self.run(self.world.grants.release(self.user, holder=self.daemons[daemon]))
        self.release_lease(daemon)

    @rule(state=st.sampled_from([UserState.NEEDS_LOGIN, UserState.SCOPE_MISSING, UserState.OWNER_CHANGED]))
    def marked(self, state: UserState) -> None:
        """Somebody finds out that the grant is in another state: whatever is under way has lost."""
        before = self.row()
        drop = state is UserState.OWNER_CHANGED
        assert self.run(
            self.world.grants.mark(
                self.user, version=before.version, state=state, reason="a test", drop_tokens=drop
            )
        )
        stale = self.run(
            self.world.grants.mark(
                self.user, version=before.version, state=UserState.OK, reason=None, drop_tokens=True
            )
        )
        assert not stale
        self.state, self.holder = state, None
        row = self.row()
        assert row.version not in self.versions
        self.versions.add(row.version)
        if drop:
            self.good = b""

    @rule(seconds=st.sampled_from([1.0, 61.0, 700.0, 90_000.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.run(self.backend.pass_time(seconds))

    def draw_attempt(self, data: st.DataObject) -> tuple[int, GrantRow]:
        daemon = data.draw(st.sampled_from(sorted(self.attempts)))
        return daemon, self.attempts.pop(daemon)

    def release_lease(self, daemon: int) -> None:
        if self.holder == daemon:
            self.holder = None

    @invariant()
    def the_row_is_as_the_model(self) -> None:
        row = self.row()
        assert row.state is self.state
        assert row.holder == (None if self.holder is None else self.daemons[self.holder])
        assert (row.unanswered_attempts, row.refusals) == (self.unanswered, self.refusals)

    @invariant()
    def the_token_that_the_sso_takes_is_stored(self) -> None:
        assert (self.row().refresh_token_enc or b"") == self.good


TestGrant = pytest.mark.slow(Grant.TestCase)
TestGrant.settings = SEVERAL
