"""Every section and key: its kind, its default, what it means.

A new key is one entry here; `make docs` writes it into the reference and the example.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from killsyncd.config import address_types as addresses
from killsyncd.config import types as kinds
from killsyncd.config.address_types import is_loopback
from killsyncd.config.keys import REQUIRED, key, unset_secret
from killsyncd.config.secret import Secret
from killsyncd.core.sources import KILLMAIL_SCOPE as KILLMAIL_SCOPE

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class SsoConfig:
    """EVE's login server and the application registered with CCP."""

    base_url: str = key("https://login.eveonline.com", addresses.http_url(bare=True), "EVE's login server.")
    client_id: str = key(
        REQUIRED,
        kinds.pattern(r"[A-Za-z0-9._~-]{1,128}", "text", "the client ID of your EVE application"),
        "Client ID of your application at developers.eveonline.com.",
    )
    client_secret_file: Path | None = key(
        "",
        addresses.optional_path(),
        "File with the application's secret. Empty: a public client, PKCE alone.",
        fills="client_secret",
    )
    callback_url: str = key(
        "http://127.0.0.1:7420/auth/callback",
        addresses.http_url(bare=False),
        "Where the SSO sends a pilot back to; exactly as it stands in the application.",
    )
    scopes: tuple[str, ...] = key(
        [KILLMAIL_SCOPE],
        kinds.words(r"[A-Za-z0-9_.-]{1,100}", "a list of ESI scopes", must_hold=KILLMAIL_SCOPE),
        "Scopes a pilot is asked for.",
    )
    client_secret: Secret | None = unset_secret()


@dataclass(frozen=True, kw_only=True, slots=True)
class EsiConfig:
    """EVE's API and how it is treated."""

    base_url: str = key("https://esi.evetech.net", addresses.http_url(bare=True), "EVE's API.")
    contact: str = key(
        REQUIRED,
        kinds.contact(),
        "How CCP reaches you; goes into the User-Agent of every request. CCP bans what it cannot reach.",
    )
    compatibility_date: str = key(
        "2026-08-18", kinds.calendar_date(), "ESI answers as of this date (`X-Compatibility-Date`)."
    )
    requests_per_second: float = key(
        50,
        kinds.number(0, 10_000),
        "Pace of requests to ESI, on top of ESI's own limits. At most 150, but for a simulator on loopback.",
    )
    max_connections: int = key(20, kinds.whole(1, 200), "Connections to ESI at once.")
    timeout: float = key("20s", kinds.duration("0s", "5m"), "Longest wait for one answer of ESI or the SSO.")
    egress: str = key(
        "default",
        kinds.pattern(
            r"[A-Za-z0-9._-]{1,64}", "text", "1 to 64 letters, digits, dots, underscores or hyphens"
        ),
        "Name of the address requests leave from: daemons that share an address share a name, "
        "and so the address's budget.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseConfig:
    """Where everything is kept."""

    url: str = key(
        "sqlite:///$STATE/killsyncd.db",
        addresses.database_url(),
        "`sqlite:///` and an absolute path, or `postgresql://user@host/database`. "
        "A password in it is taken from a configuration file of mode 0600 only.",
    )
    password_file: Path | None = key(
        "", addresses.optional_path(), "File with the PostgreSQL user's password.", fills="password"
    )
    password: Secret | None = unset_secret()

    @property
    def backend(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.partition(":")[0]

    @property
    def sqlite_path(self) -> Path | None:
        """The database's file; None for PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.backend == "sqlite" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueConfig:
    """Jobs: one waits for each list, a pilot's or a corporation's."""

    url: str = key(
        "embedded",
        addresses.queue_url(),
        "`embedded` (in the database) or `amqp://user@host/vhost` for RabbitMQ. "
        "A password in it is taken from a configuration file of mode 0600 only.",
    )
    password_file: Path | None = key(
        "", addresses.optional_path(), "File with the RabbitMQ user's password.", fills="password"
    )
    name: str = key(
        "esi_user_killmails_queue",
        kinds.pattern(
            r"(?!amq\.)[A-Za-z0-9._:-]{1,200}",
            "text",
            "1 to 200 letters, digits, or any of . _ : -, and not beginning with amq.",
        ),
        "The queue's name.",
    )
    corporation_name: str = key(
        "esi_corporation_killmails_queue",
        kinds.pattern(
            r"(?!amq\.)[A-Za-z0-9._:-]{1,200}",
            "text",
            "1 to 200 letters, digits, or any of . _ : -, and not beginning with amq.",
        ),
        "The name of the queue for corporations' lists, used where `corporations.enabled` says so.",
    )
    concurrency: int = key(8, kinds.whole(1, 64), "Lists read at once (RabbitMQ: prefetch).")
    skip_within: float = key(
        "15m",
        kinds.duration("0s", "7d", low_allowed=True),
        "A login or a plain manual queue skips who was synced since.",
    )
    include_tokens: bool = key(
        False, kinds.flag(), "Access token into RabbitMQ messages, for consumers of the old format only."
    )
    password: Secret | None = unset_secret()

    @property
    def embedded(self) -> bool:
        """Whether the queue lives in the database."""
        return self.url == "embedded"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProducerConfig:
    """The task that queues every list again and again."""

    enabled: bool = key(True, kinds.flag(), "Whether it runs.")
    interval: float = key(
        "10m", kinds.duration("0s", "7d"), "From the end of one run to the start of the next."
    )
    min_age: float = key(
        "8m",
        kinds.duration("0s", "7d", low_allowed=True),
        "Who was synced since is left out; below `interval`, so that every pilot is in every run.",
    )
    full_walk: float = key(
        "24h",
        kinds.duration("0s", "90d"),
        "How often every page is read, not only up to what is known: mails can surface late.",
    )
    active_for: float = key(
        "1h",
        kinds.duration("0s", "7d", low_allowed=True),
        "Who fought within this time is listed as soon as ESI has news, not only every `interval`; "
        "`0s`: only every interval.",
    )
    max_pages: int = key(50, kinds.whole(1, 10000), "Pages of one walk; one cut short shows in `ctl verify`.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CorporationsConfig:
    """Corporations' lists: one Director's login brings every loss and final blow of all members."""

    enabled: bool = key(
        False,
        kinds.flag(),
        "Also ask for esi-killmails.read_corporation_killmails.v1 at login, and read corporations' lists. "
        "Who logged in before logs in once more.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RefresherConfig:
    """The task that renews access tokens."""

    margin: float = key(
        "5m",
        kinds.duration("0s", "1h"),
        "Renewed when less is left (never more than a third of the token's life).",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticDataConfig:
    """CCP's export of what never moves: types with their categories, systems with their regions."""

    enabled: bool = key(
        True, kinds.flag(), "Whether it is kept up to date: hull classes, regions, security; asked for daily."
    )
    url: str = key(
        "https://developers.eveonline.com/static-data/tranquility",
        addresses.http_url(bare=True),
        "Where CCP puts it; `latest.jsonl` and the archives lie below.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PricesConfig:
    """What killmails are valued by."""

    enabled: bool = key(True, kinds.flag(), "ESI's average prices, once a day.")
    history: bool = key(
        False,
        kinds.flag(),
        "EVE Ref's market history (a third party) for days that were not seen from ESI, as far as stored "
        "killmails need them.",
    )
    history_url: str = key(
        "https://data.everef.net/market-history",
        addresses.http_url(bare=True),
        "Where EVE Ref puts it; nothing is asked there unless `history` is true.",
    )
    overrides_file: Path | None = key(
        "",
        addresses.optional_path(),
        "CSV file with `type_id,price[,from[,to]]` a line, for what no market prices; it goes before every "
        "other price. Read again on SIGHUP.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ZkillboardConfig:
    """zKillboard, a third party: the mails that pilots were on without being victim or final blow."""

    enabled: bool = key(
        False,
        kinds.flag(),
        "Whether it is asked which mails our pilots and corporations were on; the mails still come from ESI.",
    )
    api_url: str = key(
        "https://zkillboard.com/api",
        addresses.http_url(bare=True),
        "Its lists, by pilot and corporation. Nothing is asked there unless `enabled` is true.",
    )
    stream_url: str = key(
        "https://r2z2.zkillboard.com", addresses.http_url(bare=True), "Its live stream (R2Z2)."
    )
    stream: bool = key(
        True, kinds.flag(), "Whether the live stream is read, too: news within minutes instead of an hour."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryConfig:
    """Public archives (third parties) that `killsyncd import` reads; a daemon asks them for nothing."""

    everef_url: str = key(
        "https://data.everef.net/killmails", addresses.http_url(bare=True), "EVE Ref's killmails by day."
    )
    zkillboard_url: str = key(
        "https://r2z2.zkillboard.com/history",
        addresses.http_url(bare=True),
        "zKillboard's ids by day.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiConfig:
    """GraphQL, dashboard, login and metrics over HTTP."""

    listen: str = key(
        "127.0.0.1:7420",
        addresses.listen(),
        "Address and port; port 0 takes any free one. `[::]` is every address, of IPv4 too.",
    )
    token_file: Path | None = key(
        "",
        addresses.optional_path(),
        "File with the bearer token. Required when `listen` is not loopback; without one everybody may read.",
        fills="token",
    )
    allowed_hosts: tuple[str, ...] = key(
        [],
        kinds.words(
            r"[A-Za-z0-9_.:\[\]-]{1,253}",
            'a list of host names, such as "kills.example.org"',
            may_be_empty=True,
        ),
        "Names the daemon answers to, besides loopback names and the callback's host.",
    )
    images: bool = key(False, kinds.flag(), "Pictures from CCP's image server on the dashboard.")
    public_url: str = key(
        "",
        addresses.optional_http_url(),
        "Where people reach the dashboard, for links in webhooks. Empty: no links.",
    )
    token: Secret | None = unset_secret()

    @property
    def host(self) -> str:
        """The host of `listen`, without brackets."""
        return addresses.split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`; 0 means any free one."""
        return addresses.split_listen(self.listen)[1]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlConfig:
    """The socket of `killsyncd ctl`."""

    socket: Path = key(
        "$RUNTIME/killsyncd.sock", addresses.socket_path(), "The unix socket; made with mode 0660."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityConfig:
    """How tokens are encrypted in the database."""

    key_file: Path = key(
        "$STATE/killsyncd.key",
        addresses.path(),
        "The key, mode 0600; made on first start, never when the database already holds tokens.",
        credential=True,
    )
    key_is_credential: bool = field(default=False)
    """The key lies in systemd's credentials directory: its mode is systemd's matter, nobody writes there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """What is logged, and how."""

    level: str = key(
        "info", kinds.choice("debug", "info", "warning", "error"), "Least level that is written."
    )
    format: str = key(
        "auto", kinds.choice("auto", "text", "json"), "`auto`: text on a terminal, JSON otherwise."
    )
