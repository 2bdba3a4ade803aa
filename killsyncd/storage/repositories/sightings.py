"""What a page of a list says: which source saw which mail, and what is wanted because of it.

And what follows for users: the last id without a gap below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from killsyncd.storage.transaction import Bulk, Ids, Many, Row, Run, Tx
from killsyncd.sync.walk import Sighted


def sight(source_id: int, listed: Sequence[tuple[int, str]], at: float) -> Tx[Sighted]:
    """Write down the entries of a page.

    A sighting holds the hash that was listed last, a ref the one it is fetched by; of a mail that stands on
    one page with two hashes that is the first.
    """
    entries, first = dict(listed), dict(reversed(listed))
    ids = Ids(list(entries))
    sighted = yield Run("ledger.sighted", {"source_id": source_id, "ids": ids})
    known = {int(row[0]): str(row[1]) for row in sighted}
    # Refs first: their rows are locked then, and a mail whose ref is gone shows among the stored ones.
    refs = {int(row["killmail_id"]): row for row in (yield Run("ledger.refs", {"ids": ids}))}
    stored = {int(row[0]) for row in (yield Run("ledger.stored", {"ids": ids}))}
    fresh_ids = [killmail_id for killmail_id in entries if killmail_id not in known]
    yield Bulk(
        "sightings",
        ("source_id", "killmail_id", "killmail_hash", "listed_at"),
        [(source_id, killmail_id, entries[killmail_id], at) for killmail_id in fresh_ids],
    )
    otherwise = [
        {"source_id": source_id, "killmail_id": each, "killmail_hash": entries[each]}
        for each, killmail_hash in known.items()
        if killmail_hash != entries[each]
    ]
    if otherwise:
        yield Many("ledger.sighted_otherwise", otherwise)
    # Not only for ids that are new here: whatever is listed and neither stored nor wanted is wanted.
    wanted = [killmail_id for killmail_id in entries if killmail_id not in stored]
    yield Bulk(
        "refs",
        ("killmail_id", "killmail_hash", "first_listed_at", "changed_at"),
        [(each, first[each], at, at) for each in sorted(wanted) if each not in refs],
    )
    yield Bulk("ref_sources", ("source_id", "killmail_id"), [(source_id, each) for each in sorted(wanted)])
    for each in wanted:
        if each in refs and str(refs[each]["state"]) == "quarantined":
            yield from try_another_hash(each, refs[each])
        elif each in refs and str(refs[each]["killmail_hash"]) != first[each]:
            yield from _take_esis_hash(source_id, each, first[each], refs[each])
    failing = [each for each in refs.values() if each["state"] == "quarantined" or each["attempts"]]
    return Sighted(len(entries), len(fresh_ids), len(entries) - len(wanted), len(failing))


def _take_esis_hash(source_id: int, killmail_id: int, listed: str, ref: Row) -> Tx[None]:
    """A mail is fetched by the hash that ESI lists, where a third party had said another one before."""
    wanted = str(ref["killmail_hash"])
    tried = [*str(ref["tried"]).split(), wanted]
    if listed in tried:
        return
    values = {"source_id": source_id, "killmail_id": killmail_id, "killmail_hash": wanted}
    if (yield Run("ledger.third_party_hash", values)):
        again = {"killmail_id": killmail_id, "killmail_hash": listed, "tried": " ".join(tried)}
        yield Run("ledger.ref_second_hash", again)


def try_another_hash(killmail_id: int, ref: Row) -> Tx[bool]:
    """Want a mail again that ended quarantined, by a hash that was listed and not tried yet; each once."""
    tried = [*str(ref["tried"]).split(), str(ref["killmail_hash"])]
    rows = yield Run("ledger.hashes", {"killmail_id": killmail_id})
    another = next((str(row[0]) for row in rows if str(row[0]) not in tried), None)
    if another is None:
        return False
    values = {"killmail_id": killmail_id, "killmail_hash": another, "tried": " ".join(tried)}
    yield Run("ledger.ref_second_hash", values)
    return True


def derive_last_ids(source_ids: Sequence[int]) -> Tx[None]:
    """Set `last_killmail_id` of these sources anew, and of the users whose own they are. A part for other
    transactions."""
    ids = {"ids": Ids(source_ids)}
    # Statements of their own: the next one then sees what the last holder of the lock committed.
    yield Run("ledger.lock_users", ids)
    yield Run("ledger.lock_sources", ids)
    yield Run("ledger.derive_last_ids", ids)
    yield Run("ledger.users_last_ids", ids)


def fresh(kills: Mapping[int, float]) -> Tx[None]:
    """Mails were stored while they were fresh: whoever is on them fought, and so did whose lists show them.

    kills: id and time of each kill (seconds since 1970). A part for other transactions.
    """
    if not kills:
        return
    newest: dict[int, float] = {}
    for row in (yield Run("ledger.fought", {"ids": Ids(sorted(kills))})):
        source_id, at = int(row["source_id"]), kills[int(row["killmail_id"])]
        newest[source_id] = max(at, newest.get(source_id, at))
    if newest:
        yield Many("ledger.fresh", [{"source_id": each, "at": newest[each]} for each in sorted(newest)])
