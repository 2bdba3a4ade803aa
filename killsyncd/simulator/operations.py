"""What the levers do."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from killsyncd.core.errors import BadInput, NotFound

from .config import KILLMAIL_SCOPE
from .faults import Fault
from .records import Pilot, WorldMail
from .state import SimulatorState
from .webhooks import TROUBLES

Json = dict[str, Any]

STARTER_CORPORATION = 1_000_167
"""State War Academy: where members of a closed corporation find themselves."""


class RemoteOperations:
    """One public method per operation; its keyword arguments are those of the JSON object."""

    def __init__(self, simulator: SimulatorState) -> None:
        self._sim = simulator
        self._known = {
            name: method
            for name, method in inspect.getmembers(self, inspect.ismethod)
            if not name.startswith("_") and name != "perform"
        }

    def perform(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out an operation. Raises NotFound for an unknown one, BadInput for arguments that do not
        fit."""
        if operation == "":
            return {name: inspect.getdoc(method) for name, method in sorted(self._known.items())}
        method = self._known.get(operation)
        if method is None:
            raise NotFound(
                f"the simulator has no operation {operation!r}", f"Known: {', '.join(sorted(self._known))}."
            )
        try:
            inspect.signature(method).bind(**arguments)
        except TypeError as problem:
            raise BadInput(f"{operation}: {problem}", f"It takes {inspect.signature(method)}.") from problem
        return method(**arguments)

    # Files

    def publish_static_data(self, build: int | None = None, types: Sequence[Sequence[Any]] = ()) -> int:
        """Another build of the static data (the next number, if none is given), with further types
        (id, group, name). Answers its number."""
        return self._sim.files.publish(build, [(int(i), int(g), str(n)) for i, g, n in types])

    # Pilots and grants

    def pilots(self, limit: int | str = 10_000) -> list[Json]:
        """List the pilots."""
        return [self._pilot_json(pilot) for pilot in list(self._sim.world.pilots.values())[: int(limit)]]

    def add_pilots(self, count: int = 1, history: int = 0) -> list[Json]:
        """Add pilots, each with `history` mails of the last 90 days."""
        world = self._sim.world
        added = world.add_pilots(count)
        span = self._sim.config.history_hours * 3600
        for pilot in added:
            for number in range(history):
                world.new_mail([pilot], late=True, age=span * (number + 1) / (history + 1))
        return [self._pilot_json(pilot) for pilot in added]

    def remove_pilot(self, character_id: int) -> None:
        """Biomass a pilot."""
        self._sim.world.remove_pilot(self._pilot(character_id).character_id)

    def grant(
        self, character_id: int, scopes: Sequence[str] | None = None, client_id: str | None = None
    ) -> Json:
        """Make tokens without a login."""
        grants = self._sim.grants
        pilot = self._pilot(character_id)
        client = grants.client(client_id or self._sim.config.client_id)
        if client is None:
            raise NotFound(f"no application {client_id!r} is registered", "Leave client_id out.")
        wanted = (KILLMAIL_SCOPE,) if scopes is None else tuple(scopes)
        return grants.answer(grants.new_grant(client.client_id, pilot.character_id, wanted))

    def revoke(self, character_id: int) -> int:
        """Revoke all grants of a pilot."""
        pilot = self._pilot(character_id)
        alive = [g for g in self._sim.grants.grants if g.character_id == pilot.character_id and not g.revoked]
        for grant in alive:
            grant.revoked = True
        return len(alive)

    def sell(self, character_id: int) -> str:
        """Give the character another owner."""
        pilot = self._pilot(character_id)
        pilot.owner_serial += 1
        return pilot.owner_hash(self._sim.config.seed)

    def scopes(self, character_id: int, drop: Sequence[str] = (), restore: Sequence[str] = ()) -> list[str]:
        """Take scopes from a pilot's grants, or give them back."""
        pilot = self._pilot(character_id)
        pilot.lost_scopes = (pilot.lost_scopes | set(drop)) - set(restore)
        return sorted(pilot.lost_scopes)

    def director(self, character_id: int, yes: bool = True) -> None:
        """Give or take the role Director."""
        self._pilot(character_id).director = yes

    def move(self, character_id: int, corporation_id: int) -> None:
        """Let a pilot join another corporation."""
        self._sim.world.move_pilot(self._pilot(character_id).character_id, corporation_id)

    def close_corporation(self, corporation_id: int) -> int:
        """Close a corporation: its members are in an NPC corporation (whose id is answered)."""
        corporation = self._sim.world.corporations.get(corporation_id)
        if corporation is None:
            raise NotFound(f"there is no corporation {corporation_id}", "`pilots` names those there are.")
        for character_id in list(corporation.members):
            self._sim.world.move_pilot(character_id, STARTER_CORPORATION)
        return STARTER_CORPORATION

    def rotate_keys(self, keep_old: bool = True) -> str:
        """Sign with a new key."""
        return self._sim.keys.rotate(keep_old=keep_old)

    # Webhooks

    def webhooks(self, limit: int | str = 100) -> Json:
        """What Discord and the receiver took last, how many requests came, and what broke a rule."""
        targets = self._sim.targets
        return {
            "requests": targets.requests,
            "breaches": targets.breaches,
            "taken": [
                {"hook": each.hook, "id": each.id, "answered": each.answered, "body": each.body}
                for each in targets.taken[-int(limit) :]
            ],
        }

    def webhook_trouble(self, kinds: Sequence[str], retry_after: float = 1.0) -> None:
        """What happens to the next requests of webhooks, one each: 429, 429-bare, 500, hang, drop, 404, gone,
        400, or an empty word for none."""
        known = ("", *TROUBLES)
        for each in kinds:
            if each not in known:
                raise BadInput(
                    f"webhook_trouble: no trouble is called {each!r}", f"Known: {', '.join(known)}."
                )
        self._sim.targets.retry_after = float(retry_after)
        self._sim.targets.trouble(kinds)

    # Killmails

    def mails(self, character_id: int | str | None = None, took_part: bool = False) -> list[Json]:
        """List mails: of a pilot's list, or all that the pilot is on; or all."""
        world = self._sim.world
        if character_id is None:
            ids = list(world.mails)
        else:
            pilot = self._pilot(int(character_id))
            ids = (
                list(world.took_part.get(pilot.character_id, ())) if took_part else world.listed(pilot.mails)
            )
        return [self._mail_json(world.mails[key]) for key in ids]

    def mail(self, killmail_id: int | str) -> Any:
        """Show a mail."""
        return orjson.loads(self._sim.world.body_of(self._mail(int(killmail_id))))

    def add_mails(
        self,
        count: int = 1,
        pilots: Sequence[int] | None = None,
        shared: bool = False,
        kind: str = "",
        late: bool = False,
        age: float = 0.0,
        loss: bool | None = None,
        assist: bool = False,
    ) -> list[Json]:
        """Let kills happen."""
        world = self._sim.world
        made: list[WorldMail] = []
        for _ in range(count):
            if pilots is None:
                made.append(world.fight(kind=kind, late=late, age=age))
                continue
            crew = [self._pilot(pilot) for pilot in pilots]
            crews = [crew] if shared else [[pilot] for pilot in crew]
            made += [
                world.new_mail(each, kind=kind, late=late, age=age, loss=loss, assist=assist)
                for each in crews
            ]
        return [self._mail_json(mail) for mail in made]

    def add_documents(self, documents: Sequence[Json], pilots: Sequence[int] | None = None) -> list[Json]:
        """Put given killmails into lists."""
        world = self._sim.world
        holders = list(world.pilots.values()) if pilots is None else [self._pilot(pilot) for pilot in pilots]
        return [self._mail_json(world.add_document(document, holders)) for document in documents]

    def share(self, killmail_ids: Sequence[int], pilots: Sequence[int]) -> None:
        """Show mails in more lists."""
        for pilot in [self._pilot(pilot) for pilot in pilots]:
            known = set(pilot.mails)
            for key in killmail_ids:
                if key not in known:
                    self._sim.world.show(self._mail(key).killmail_id, pilot)

    def corporation_mails(self, corporation_id: int) -> list[Json]:
        """List mails of a corporation's list."""
        world = self._sim.world
        corporation = world.corporations.get(corporation_id)
        if corporation is None:
            raise NotFound(f"there is no corporation {corporation_id}", "`pilots` names those there are.")
        return [self._mail_json(world.mails[key]) for key in world.listed(corporation.mails)]

    def zkillboard(
        self,
        unposted: Sequence[int] = (),
        wrong: Sequence[int] = (),
        strangers: int = 0,
        forget: bool = False,
    ) -> Json:
        """Take mails off zKillboard, give it wrong hashes, post strangers' mails, end the stream's files."""
        board, world = self._sim.board, self._sim.world
        board.unposted.update(self._mail(key).killmail_id for key in unposted)
        board.wrong.update(self._mail(key).killmail_id for key in wrong)
        for _ in range(strangers):
            world.new_mail([])
        if forget:
            board.forget()
        return {
            "sequence": board.sequence,
            "unposted": sorted(board.unposted),
            "wrong": sorted(board.wrong),
            "requests": board.requests,
        }

    def expire_lists(self, character_id: int | None = None) -> None:
        """End cached lists."""
        self._sim.lists.expire(character_id)

    def bad_ids(self, add: Sequence[int] = (), remove: Sequence[int] = ()) -> list[int]:
        """Forget and know names."""
        bad = self._sim.world.bad_ids
        bad.update(add)
        bad.difference_update(remove)
        return sorted(bad)

    # Trouble

    def script(self, **fault: Any) -> int:
        """Script a fault."""
        return self._sim.trouble.add(Fault.from_json(fault), self._sim.clock.monotonic())

    def faults(self) -> list[Json]:
        """List the faults."""
        return self._sim.trouble.listed()

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Take faults away."""
        return self._sim.trouble.remove(fault_id)

    def downtime(
        self, on: bool = True, status: int = 503, seconds: float | None = None, sso: bool = False
    ) -> None:
        """Begin or end a downtime."""
        ends = math.inf if seconds is None else self._sim.clock.monotonic() + seconds
        self._sim.outage = (status, ends, sso) if on else None

    def spend(self, group: str, user: str, tokens: int) -> int:
        """Spend somebody's budget."""
        window = self._sim.gate.window(group, user)
        window.spend(self._sim.clock.monotonic(), tokens)
        return window.remaining()

    def set_time(self, offset: float | None = None, advance: float = 0.0) -> Json:
        """Set the clock."""
        clock = self._sim.clock
        clock.advance(advance)
        if offset is not None:
            clock.offset = offset
        return {"wall": clock.wall(), "offset": clock.offset}

    def settings(self, **changes: Any) -> Json:
        """Change and read settings."""
        sim = self._sim
        for name, value in changes.items():
            match name:
                case "latency":
                    sim.latency = float(value)
                case "rate":
                    sim.set_rate(float(value))
                case "late":
                    sim.late = float(value)
                case "cache":
                    sim.lists.life = float(value)
                case "affiliation_cache":
                    sim.esi.affiliation_life = float(value)
                case "empty_404":
                    sim.lists.empty_404 = bool(value)
                case "page_size":
                    sim.lists.page_size = max(1, int(value))
                case "token_life":
                    sim.grants.token_life = float(value)
                case "rotation" if value in ("always", "never", "sometimes"):
                    sim.grants.rotation = value
                case "auto_approve":
                    sim.sso.auto_approve = bool(value)
                case "limits" if isinstance(value, dict):
                    for group, tokens in value.items():
                        sim.gate.set_limit(group, int(tokens))
                case _:
                    raise BadInput(f"no setting {name} = {value!r}", "See docs/simulator.md.")
        return {
            "latency": sim.latency,
            "rate": sim.rate,
            "late": sim.late,
            "cache": sim.lists.life,
            "page_size": sim.lists.page_size,
            "affiliation_cache": sim.esi.affiliation_life,
            "empty_404": sim.lists.empty_404,
            "token_life": sim.grants.token_life,
            "rotation": sim.grants.rotation,
            "auto_approve": sim.sso.auto_approve,
        }

    # What happened

    def counters(self) -> Json:
        """Count what was asked."""
        return self._sim.ledger.snapshot()

    def breaches(self) -> list[Json]:
        """List the breaches of ESI's rules."""
        return list(self._sim.ledger.breaches)

    def reset_counters(self) -> None:
        """Forget what was counted."""
        self._sim.ledger.reset()

    def state(self) -> Json:
        """Tell how things stand."""
        sim = self._sim
        return {
            "base_url": sim.base_url,
            "client_id": sim.config.client_id,
            "pilots": len(sim.world.pilots),
            "killmails": len(sim.world.mails),
            "newest_id": sim.world.newest_id,
            "downtime": sim.outage is not None,
            "faults": len(sim.trouble.listed()),
            "wall": sim.clock.wall(),
        }

    # Helpers

    def _pilot(self, character_id: int) -> Pilot:
        pilot = self._sim.world.pilots.get(character_id)
        if pilot is None:
            raise NotFound(f"there is no pilot {character_id}", "`pilots` lists them.")
        return pilot

    def _mail(self, killmail_id: int) -> WorldMail:
        mail = self._sim.world.mails.get(killmail_id)
        if mail is None:
            raise NotFound(f"there is no killmail {killmail_id}", "`mails` lists them.")
        return mail

    def _mail_json(self, mail: WorldMail) -> Json:
        return {"killmail_id": mail.killmail_id, "killmail_hash": self._sim.world.hash_of(mail)}

    def _pilot_json(self, pilot: Pilot) -> Json:
        return {
            "character_id": pilot.character_id,
            "name": pilot.name,
            "corporation_id": pilot.corporation_id,
            "alliance_id": pilot.alliance_id,
            "director": pilot.director,
            "killmails": len(pilot.mails),
        }
