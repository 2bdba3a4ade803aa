"""Every kind of problem: its stable code, whether nobody is synced while it lasts, its remedy.

docs/ctl.md lists them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from killsyncd.core.model import REMEDIES, Problem, UserState


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What is known of a kind of problem.

    stops: nobody is synced while it lasts. remedy: what to do, unless the reporter knows better.
    """

    code: str
    stops: bool
    remedy: str
    meaning: str


_WAITS = "nothing to do: work goes on by itself"


_AGAIN = "nothing to do: what is there stays, and it is tried again by itself"


CODES: Mapping[str, ProblemKind] = MappingProxyType(
    {
        each.code: each
        for each in (
            ProblemKind("paused", True, "killsyncd ctl resume", "Somebody paused the daemon."),
            ProblemKind(
                "producer_paused",
                True,
                "killsyncd ctl resume --producer",
                "Somebody paused the producer: what is queued is worked off, nobody else gets queued.",
            ),
            ProblemKind(
                "producer_disabled",
                False,
                "set [producer] enabled = true and restart, or queue by hand: killsyncd ctl queue",
                "The configuration turns the producer off.",
            ),
            ProblemKind("downtime", True, _WAITS, "EVE's daily downtime, or ESI says that the game is down."),
            ProblemKind(
                "esi_unreachable",
                True,
                "look at network and [esi] base_url; work goes on by itself",
                "ESI does not answer.",
            ),
            ProblemKind(
                "error_limit",
                True,
                _WAITS,
                "ESI's error limit (420) shuts every route for up to a minute.",
            ),
            ProblemKind(
                "sso_unavailable",
                False,
                "look at network and [sso]; tokens are renewed as soon as it answers",
                "The SSO does not renew tokens: syncs go on until the tokens at hand have ended.",
            ),
            ProblemKind(
                "tokens_ended",
                True,
                "look at network and [sso]; syncs go on as soon as it answers",
                "The SSO does not renew tokens, and all those at hand have ended.",
            ),
            ProblemKind(
                "token_refused",
                True,
                "check [sso] client_id and base_url; killsyncd ctl users shows who is not synced",
                "The SSO gives tokens that do not verify: none of them is used.",
            ),
            ProblemKind("budget_dry", False, _WAITS, "An ESI budget is spent; its window returns tokens."),
            ProblemKind("budget_blocked", False, _WAITS, "ESI asked us to wait (429 with Retry-After)."),
            ProblemKind(
                "details_failing",
                False,
                "nothing to do: it goes on by itself as soon as one comes; what ESI says of itself: "
                "https://esi.evetech.net/meta/status",
                "Every killmail fails alike: ESI is ill. One is asked for now and then, none is held guilty.",
            ),
            ProblemKind("nobody_logged_in", True, "killsyncd login", "There is nobody to sync."),
            ProblemKind(
                "nobody_syncs",
                True,
                "killsyncd ctl users shows what each needs",
                "There are users, and none of them can be synced.",
            ),
            ProblemKind(
                "needs_login",
                False,
                REMEDIES[UserState.NEEDS_LOGIN],
                "The SSO refuses a pilot's login. It is asked again for a week, in case it was wrong.",
            ),
            ProblemKind(
                "owner_changed",
                False,
                REMEDIES[UserState.OWNER_CHANGED],
                "A character belongs to another account now.",
            ),
            ProblemKind(
                "scope_missing",
                False,
                REMEDIES[UserState.SCOPE_MISSING],
                "A pilot's login lacks the killmail scope, or ESI says so. It is looked at again daily.",
            ),
            ProblemKind(
                "login_doubtful",
                False,
                "nothing to do: it is asked again by itself in a minute; to get on at once: killsyncd login",
                "The SSO refused a pilot's login once, which may be wrong.",
            ),
            ProblemKind(
                "sync_failing",
                False,
                "nothing to do if it passes; killsyncd ctl users shows how it goes",
                "A pilot's sync failed several times in a row and is tried again with growing pauses.",
            ),
            ProblemKind(
                "corporation_not_read",
                False,
                "a Director of the corporation logs in: killsyncd login",
                "A corporation's list was read before, and nobody lends a token to it now.",
            ),
            ProblemKind(
                "quarantined",
                False,
                "killsyncd ctl failed shows why; killsyncd ctl retry tries them again",
                "Mails that ESI or the database refused several times.",
            ),
            ProblemKind(
                "revocation_pending",
                False,
                "nothing to do: tried again by itself; by hand: "
                "https://developers.eveonline.com/authorized-apps",
                "A logout that the SSO has not confirmed yet.",
            ),
            ProblemKind(
                "database_failing", True, "killsyncd check", "The database does not take what we write."
            ),
            ProblemKind(
                "disk_low",
                True,
                "free some space on the database's disk; work goes on by itself",
                "Too little space is left to go on writing safely.",
            ),
            ProblemKind(
                "queue_unreachable",
                False,
                "look at the broker and [queue] url; syncs go on from the database meanwhile",
                "The message broker does not answer.",
            ),
            ProblemKind(
                "task_died",
                True,
                "restart killsyncd and report this with its log",
                "A part of the daemon has ended that should not.",
            ),
            ProblemKind(
                "clock_skew",
                False,
                "let this machine keep its time: timedatectl set-ntp true",
                "This machine's clock and ESI's differ by more than a minute.",
            ),
            ProblemKind(
                "esi_dates_wrong",
                False,
                _WAITS,
                "Some of ESI's machines tell another time than most; theirs is not believed.",
            ),
            ProblemKind(
                "static_data_old",
                False,
                _AGAIN,
                "CCP's static data could not be renewed; newer types and systems lack class and region.",
            ),
            ProblemKind(
                "prices_old",
                False,
                _AGAIN,
                "ESI's prices could not be read; killmails of these days are valued by those of a later one.",
            ),
            ProblemKind(
                "market_history_failing",
                False,
                _AGAIN,
                "EVE Ref's market history could not be read; a later day's prices stand in.",
            ),
            ProblemKind(
                "zkillboard_failing",
                False,
                _AGAIN,
                "zKillboard's lists could not be read; what ESI lists comes as ever.",
            ),
            ProblemKind(
                "zkillboard_stream_failing",
                False,
                _AGAIN,
                "zKillboard's live stream could not be read; its lists fill what is missed.",
            ),
            ProblemKind(
                "price_overrides_bad",
                False,
                "correct the lines, then have the file read again: kill -HUP the daemon, or systemctl reload "
                "killsyncd",
                "Lines of [prices] overrides_file cannot be read; the others count.",
            ),
            ProblemKind(
                "list_cached_long",
                False,
                "nothing to do: it is asked again then, after a day at the latest",
                "ESI says that a pilot's list is cached for far longer than usual.",
            ),
            ProblemKind(
                "reload_refused",
                False,
                "killsyncd check names every mistake; put them right and reload again",
                "The configuration was to be read again (SIGHUP) and does not hold: the old one counts.",
            ),
            ProblemKind(
                "webhook_stopped",
                False,
                "killsyncd ctl webhooks shows which, and what to do",
                "The other side of a webhook refuses everything (401, 404). What it would send waits.",
            ),
            ProblemKind(
                "webhook_failing",
                False,
                "killsyncd ctl webhooks shows how it goes; it is tried again by itself",
                "A webhook has not got through for five minutes. What it would send waits.",
            ),
            ProblemKind(
                "webhook_refused",
                False,
                "put the name right in the configuration, and reload (SIGHUP)",
                "A webhook's filter names what nobody knows. Nothing is sent meanwhile, and nothing is lost.",
            ),
            ProblemKind(
                "webhook_set_aside",
                False,
                "killsyncd ctl webhooks shows which; put right what is refused, and send it once more: "
                "killsyncd ctl webhooks replay NAME --since DATE",
                "The other side of a webhook refused mails for good (400) in the last day.",
            ),
        )
    }
)
"""Every code there is. The list only grows; docs/ctl.md carries it."""


def stops(problem: Problem) -> bool:
    """Whether nobody is synced while this problem lasts. Codes we don't know don't stop anything."""
    known = CODES.get(problem.code)
    return known is not None and known.stops


def syncing(problems: Iterable[Problem]) -> bool:
    """Whether the daemon does its job: no problem stops it."""
    return not any(stops(problem) for problem in problems)


def ordered(problems: Iterable[Problem]) -> list[Problem]:
    """What stops everything first, then by age."""
    return sorted(problems, key=lambda each: (not stops(each), each.since, each.code, each.character_id or 0))
