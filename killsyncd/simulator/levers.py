"""The levers of a running simulator, the same from inside its process and from another one.

Each method is one operation; over HTTP it is `POST /_sim/<name>` with the arguments as a JSON object. What
they return is JSON. All raise BadInput for arguments that do not fit, and NotFound for pilots and mails
that do not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

Json = dict[str, Any]


class Levers:
    """Base of Simulator and of SimulatorProcess."""

    def perform(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out an operation by name."""
        raise NotImplementedError

    # Files

    def publish_static_data(self, build: int | None = None, types: Sequence[Sequence[Any]] = ()) -> int:
        """Another build of the static data, with further types (id, group, name). Returns its number."""
        return cast(
            "int", self.perform("publish_static_data", {"build": build, "types": [list(t) for t in types]})
        )

    # Pilots and grants

    def pilots(self, limit: int = 10_000) -> list[Json]:
        """character_id, name, corporation_id, alliance_id, director, killmails of each."""
        return cast("list[Json]", self.perform("pilots", {"limit": limit}))

    def add_pilots(self, count: int = 1, history: int = 0) -> list[Json]:
        """New pilots, each with so many old mails of their own."""
        return cast("list[Json]", self.perform("add_pilots", {"count": count, "history": history}))

    def remove_pilot(self, character_id: int) -> None:
        """Biomass: the SSO refuses the pilot from now on."""
        self.perform("remove_pilot", {"character_id": character_id})

    def grant(
        self, character_id: int, scopes: Sequence[str] | None = None, client_id: str | None = None
    ) -> Json:
        """Tokens without a login: the token endpoint's answer."""
        return cast(
            "Json",
            self.perform("grant", {"character_id": character_id, "scopes": scopes, "client_id": client_id}),
        )

    def revoke(self, character_id: int) -> int:
        """The pilot withdraws all grants: refreshing gives `invalid_grant`. Returns how many there were."""
        return cast("int", self.perform("revoke", {"character_id": character_id}))

    def sell(self, character_id: int) -> str:
        """The character gets another owner; tokens made from now on carry the new owner hash, which is
        returned."""
        return cast("str", self.perform("sell", {"character_id": character_id}))

    def scopes(self, character_id: int, drop: Sequence[str] = (), restore: Sequence[str] = ()) -> list[str]:
        """Take scopes away (403, and gone from new tokens) or give them back. Returns those that are gone."""
        return cast(
            "list[str]",
            self.perform(
                "scopes", {"character_id": character_id, "drop": list(drop), "restore": list(restore)}
            ),
        )

    def director(self, character_id: int, yes: bool = True) -> None:
        """Give or take the role that corporation lists need."""
        self.perform("director", {"character_id": character_id, "yes": yes})

    def move(self, character_id: int, corporation_id: int) -> None:
        """Let a pilot join another corporation, or an NPC one (ids up to 1,999,999), without a role there."""
        self.perform("move", {"character_id": character_id, "corporation_id": corporation_id})

    def close_corporation(self, corporation_id: int) -> int:
        """Close a corporation; answers the NPC corporation that its members are in."""
        return int(self.perform("close_corporation", {"corporation_id": corporation_id}))

    def corporation_mails(self, corporation_id: int) -> list[Json]:
        """killmail_id and killmail_hash of what the corporation's list shows."""
        return cast("list[Json]", self.perform("corporation_mails", {"corporation_id": corporation_id}))

    def rotate_keys(self, keep_old: bool = True) -> str:
        """A new signing key with a new `kid`; without the old ones in the set, their tokens verify no
        longer."""
        return cast("str", self.perform("rotate_keys", {"keep_old": keep_old}))

    # Killmails

    def mails(self, character_id: int | None = None, *, took_part: bool = False) -> list[Json]:
        """killmail_id and killmail_hash of what the pilot's list shows as soon as its cache ends (None:
        all mails).

        took_part: of every mail that the pilot is on, also those that ESI shows to others alone (assists).
        """
        return cast(
            "list[Json]", self.perform("mails", {"character_id": character_id, "took_part": took_part})
        )

    def mail(self, killmail_id: int) -> Json:
        """The mail as ESI sends it."""
        return cast("Json", self.perform("mail", {"killmail_id": killmail_id}))

    def add_mails(
        self,
        count: int = 1,
        pilots: Iterable[int] | None = None,
        *,
        shared: bool = False,
        kind: str = "",
        late: bool = False,
        age: float = 0.0,
        loss: bool | None = None,
        assist: bool = False,
    ) -> list[Json]:
        """`count` new mails for each of `pilots` (None: some), or `count` with all of them on it when
        `shared`: the first of them strikes the final blow and alone lists it.

        `age` in seconds; `late`: ids below the newest; `kind`: solo, gang, fleet, npc, structure, capsule,
        hauler, capital; `loss`: the (first) pilot dies, when `shared` by the hand of the second, and both
        list it; `assist`: a stranger strikes the final blow, and no list of ours shows it.
        """
        return cast(
            "list[Json]",
            self.perform(
                "add_mails",
                {
                    "count": count,
                    "pilots": None if pilots is None else list(pilots),
                    "shared": shared,
                    "kind": kind,
                    "late": late,
                    "age": age,
                    "loss": loss,
                    "assist": assist,
                },
            ),
        )

    def add_documents(self, documents: Iterable[Json], pilots: Iterable[int] | None = None) -> list[Json]:
        """Killmails as given (ESI's JSON, `killmail_hash` inside or computed) into the lists of `pilots`
        (None: all)."""
        return cast(
            "list[Json]",
            self.perform(
                "add_documents",
                {"documents": list(documents), "pilots": None if pilots is None else list(pilots)},
            ),
        )

    def share(self, killmail_ids: Iterable[int], pilots: Iterable[int]) -> None:
        """Show these mails in the lists of these pilots too."""
        self.perform("share", {"killmail_ids": list(killmail_ids), "pilots": list(pilots)})

    def zkillboard(
        self,
        *,
        unposted: Iterable[int] = (),
        wrong: Iterable[int] = (),
        strangers: int = 0,
        forget: bool = False,
    ) -> Json:
        """zKillboard as it stands: `sequence` of the stream, `requests` so far, `unposted`, `wrong`.

        unposted: mails that nobody has posted there after all. wrong: mails that it knows by a wrong hash.
        strangers: so many new mails with none of our pilots. forget: a day is over, the files of the stream
        are gone.
        """
        arguments = {
            "unposted": list(unposted),
            "wrong": list(wrong),
            "strangers": strangers,
            "forget": forget,
        }
        return cast("Json", self.perform("zkillboard", arguments))

    def webhooks(self, limit: int = 100) -> Json:
        """What the webhooks' other sides took last (`taken`), `requests` so far, `breaches`."""
        return cast("Json", self.perform("webhooks", {"limit": limit}))

    def webhook_trouble(self, kinds: Iterable[str], retry_after: float = 1.0) -> None:
        """What happens to the next requests of webhooks, one each: 429, 429-bare, 500, hang, drop, 404, gone,
        400, or an empty word for none. retry_after: seconds that a 429 asks for.
        """
        self.perform("webhook_trouble", {"kinds": list(kinds), "retry_after": retry_after})

    def expire_lists(self, character_id: int | None = None) -> None:
        """End the life of cached lists at once, whatever was promised: tears a walk."""
        self.perform("expire_lists", {"character_id": character_id})

    def bad_ids(self, add: Iterable[int] = (), remove: Iterable[int] = ()) -> list[int]:
        """Ids that `/universe/names` does not know."""
        return cast("list[int]", self.perform("bad_ids", {"add": list(add), "remove": list(remove)}))

    # Trouble

    def script(self, kind: str, route: str = "*", **conditions: Any) -> int:
        """Script a fault (docs/simulator.md); returns its id."""
        return cast("int", self.perform("script", {"kind": kind, "route": route, **conditions}))

    def faults(self) -> list[Json]:
        """The scripted faults, with how often each struck."""
        return cast("list[Json]", self.perform("faults", {}))

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Take one fault away, or all."""
        return cast("int", self.perform("clear_faults", {"fault_id": fault_id}))

    def downtime(
        self, on: bool = True, status: int = 503, seconds: float | None = None, sso: bool = False
    ) -> None:
        """ESI (and the SSO) answer `status` to everything, until told otherwise or for so many seconds."""
        self.perform("downtime", {"on": on, "status": status, "seconds": seconds, "sso": sso})

    def spend(self, group: str, user: str, tokens: int) -> int:
        """Spend a user's budget as another program would; returns what remains.

        `user` is `client_id:character_id` or an address.
        """
        return cast("int", self.perform("spend", {"group": group, "user": user, "tokens": tokens}))

    def set_time(self, offset: float | None = None, advance: float = 0.0) -> Json:
        """Set the wall clock wrong by `offset` seconds; let `advance` seconds pass for caches, windows and
        tokens."""
        return cast("Json", self.perform("set_time", {"offset": offset, "advance": advance}))

    def settings(self, **changes: Any) -> Json:
        """Change while it runs, and read: latency, rate, late, cache, affiliation_cache, page_size,
        empty_404, token_life, rotation, auto_approve, limits (`{"killmail": 20}`)."""
        return cast("Json", self.perform("settings", changes))

    # What happened

    def counters(self) -> Json:
        """Requests by route and status, details, lists, refreshes, tokens spent, peaks, number of
        breaches."""
        return cast("Json", self.perform("counters", {}))

    def breaches(self) -> list[Json]:
        """Every breach of ESI's rules: rule, route, subject, detail, time."""
        return cast("list[Json]", self.perform("breaches", {}))

    def reset_counters(self) -> None:
        """Start counting from nothing; breaches are forgotten too."""
        self.perform("reset_counters", {})

    def state(self) -> Json:
        """Address, client id, number of pilots and mails, newest id, downtime, clock."""
        return cast("Json", self.perform("state", {}))
