"""`[[webhooks]]`: one table a webhook, read as strictly as the sections.

Addresses and secrets come from files of their own, or systemd credentials named `webhooks.NAME.url_file`:
whoever has the address of a Discord webhook can post there. What these files hold is never shown.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from killsyncd.config import address_types as addresses
from killsyncd.config import types as kinds
from killsyncd.config.errors import ConfigMistake, nearest, shown
from killsyncd.config.keys import REQUIRED, Key, key
from killsyncd.config.paths import Directories
from killsyncd.config.secret import Secret, SecretFileRefused, read_secret_file
from killsyncd.config.types import BadValue, ValueType

SECTION = "webhooks"
KINDS = ("discord", "json", "zkillboard")
OUTCOMES = ("any", "kill", "loss")
SECURITY = ("high", "low", "null", "wormhole", "pochven", "abyssal", "void")
VERBS = ("test", "replay", "pause", "resume")
"""Words of `killsyncd ctl webhooks`, which cannot be names as well."""

MOST = 50
_KINDS_KEYS = {
    "secret_file": "json",
    "mention_role": "discord",
    "mention_min_value": "discord",
    "zkillboard_link": "discord",
    "zkillboard_delay": "zkillboard",
}
"""Keys that mean something to one kind alone."""

ZKILLBOARD_DELAYS = {0: 0, 1: 1, 3: 2, 8: 3, 24: 4, 72: 5}
"""Hours, and the number that zKillboard's address has for them."""

PREFIX = "whsec_"
"""What follows in a secret of Standard Webhooks is base64."""


def _isk() -> ValueType[float]:
    def read(raw: object) -> float:
        if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not 0 <= raw <= 1e15:
            raise BadValue
        return float(raw)

    return ValueType("number", "ISK: a number from 0 to 1e15", read)


def _names_or_ids() -> ValueType[tuple[str, ...]]:
    allowed = 'a list of names or ids, such as ["The Forge", 10000002]'

    def read(raw: object) -> tuple[str, ...]:
        if not isinstance(raw, (list, tuple)) or len(raw) > 1000:
            raise BadValue
        values = []
        for each in raw:
            if isinstance(each, bool) or not isinstance(each, (int, str)):
                raise BadValue
            text = str(each).strip()
            if not text or len(text) > 100 or not text.isprintable():
                raise BadValue
            values.append(text)
        return tuple(dict.fromkeys(values))

    return ValueType("list", allowed, read)


def _classes() -> ValueType[tuple[str, ...]]:
    allowed = "a list of " + ", ".join(f'"{each}"' for each in SECURITY)

    def read(raw: object) -> tuple[str, ...]:
        if not isinstance(raw, (list, tuple)):
            raise BadValue
        for each in raw:
            if each not in SECURITY:
                guess = nearest(each, SECURITY, 0.5) if isinstance(each, str) else ""
                raise BadValue(allowed + (f"; did you mean {guess!r}?" if guess else ""))
        return tuple(dict.fromkeys(raw))

    return ValueType("list", allowed, read)


def _hours() -> ValueType[float]:
    allowed = "one of the delays that zKillboard knows: 0, 1h, 3h, 8h, 24h or 72h"

    def read(raw: object) -> float:
        value = kinds.seconds_of(raw)
        if value / 3600.0 not in ZKILLBOARD_DELAYS:
            raise BadValue
        return value

    return ValueType("duration", allowed, read)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookConfig:
    """One webhook: where killmails go, and which ones.

    url, secret: what the files hold; never shown.
    """

    name: str = key(
        REQUIRED,
        kinds.pattern(
            r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "text", "1 to 64 letters, digits, hyphens or underscores"
        ),
        "Shows in ctl, logs and metrics, and is what its place in the feed is remembered by.",
    )
    kind: str = key(
        REQUIRED,
        kinds.choice(*KINDS),
        "`discord`: an embed in a channel. `json`: the mail as JSON, signed as Standard Webhooks has it. "
        "`zkillboard`: id and hash of the mail are published there, **which cannot be taken back**.",
    )
    url_file: Path | None = key(
        "",
        addresses.optional_path(),
        "File (mode 0600) with the address, which is a secret. Needed but for `zkillboard`.",
        fills="url",
    )
    secret_file: Path | None = key(
        "",
        addresses.optional_path(),
        "json: file with the secret that signs. `whsec_` and base64 (two with a blank between while you "
        "change it: both sign), or any text. Empty: not signed.",
        fills="secret",
    )
    outcome: str = key(
        "any",
        kinds.choice(*OUTCOMES),
        "`kill`, `loss` or `any`, seen from `pilots` and `corporations` where given, else from all of ours.",
    )
    min_value: float = key(0, _isk(), "Least value of the mail in ISK; needs `[prices]`.")
    regions: tuple[str, ...] = key([], _names_or_ids(), "Only these regions; needs `[static_data]`.")
    systems: tuple[str, ...] = key([], _names_or_ids(), "Only these solar systems.")
    security: tuple[str, ...] = key([], _classes(), "Only these classes of space; needs `[static_data]`.")
    ship_groups: tuple[str, ...] = key(
        [], _names_or_ids(), "Only ships lost that are of these groups; needs `[static_data]`."
    )
    ship_types: tuple[str, ...] = key([], _names_or_ids(), "Only these ships lost.")
    pilots: tuple[str, ...] = key([], _names_or_ids(), "Only mails that one of these characters is on.")
    corporations: tuple[str, ...] = key(
        [], _names_or_ids(), "Only mails that a member of one of these corporations is on."
    )
    exclude_npc: bool = key(True, kinds.flag(), "Leave out losses to NPCs alone.")
    exclude_pods: bool = key(False, kinds.flag(), "Leave out capsules.")
    fresh_only: bool = key(
        True,
        kinds.flag(),
        "Only mails that were at most an hour old when first listed: no history, no imports.",
    )
    delay: float = key("0s", kinds.duration("0s", "30d", low_allowed=True), "Wait so long after the kill.")
    mention_role: str = key(
        "",
        kinds.pattern(r"[0-9]{0,20}", "text", "the id of a Discord role, in digits, or empty"),
        "discord: id of the role that is mentioned. Nobody else ever is.",
    )
    mention_min_value: float = key(
        0, _isk(), "discord: mention the role from this value in ISK on; above 0 it needs `[prices]`."
    )
    zkillboard_link: bool = key(False, kinds.flag(), "discord: link the mail at zKillboard.")
    zkillboard_delay: float = key(
        "0s", _hours(), "zkillboard: how long zKillboard keeps the mail back: 0, 1h, 3h, 8h, 24h or 72h."
    )
    url: Secret | None = field(default=None, repr=False)
    secret: Secret | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Where it goes to, as may be shown: scheme, host and port, and nothing of the path.

        Empty for `zkillboard` without an address of its own: it goes to `[zkillboard] api_url`.
        """
        return shown_host(self.url.reveal()) if self.url is not None else ""

    @property
    def needs_static_data(self) -> bool:
        """Whether it asks for what only CCP's static data knows."""
        return bool(self.regions or self.security or self.ship_groups)

    @property
    def needs_prices(self) -> bool:
        """Whether it asks for a mail's value."""
        return self.min_value > 0 or self.mention_min_value > 0


def shown_host(url: str) -> str:
    """An address without what makes it a secret."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def webhook_keys() -> dict[str, Key]:
    """The keys of a table, in their order."""
    fields = WebhookConfig.__dataclass_fields__
    return {name: each.metadata["key"] for name, each in fields.items() if "key" in each.metadata}


def read_webhooks(
    raw: object, where: str, places: Directories, mistakes: list[ConfigMistake]
) -> tuple[WebhookConfig, ...]:
    """Every `[[webhooks]]` of a document; adds to `mistakes` what does not hold."""
    if raw is None:
        return ()
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not all(isinstance(e, Mapping) for e in raw):
        problem = "must be tables: begin each webhook with [[webhooks]] on a line of its own"
        mistakes.append(ConfigMistake(where, problem, SECTION))
        return ()
    if len(raw) > MOST:
        mistakes.append(ConfigMistake(where, f"are more than {MOST}", f"[{SECTION}]"))
        return ()
    found: list[WebhookConfig] = []
    for number, table in enumerate(raw, 1):
        one = _Table(table, number, where, places, mistakes).read()
        if one is None:
            continue
        if any(each.name.lower() == one.name.lower() for each in found):
            problem = "is the name of two webhooks; each needs one of its own"
            mistakes.append(ConfigMistake(where, problem, f"[{SECTION}]", f"name of {one.name}"))
        found.append(one)
    return tuple(found)


class _Table:
    """One table while it is read."""

    def __init__(
        self,
        table: Mapping[str, object],
        number: int,
        where: str,
        places: Directories,
        mistakes: list[ConfigMistake],
    ) -> None:
        self._table = table
        self._where = where
        self._places = places
        self._mistakes = mistakes
        name = table.get("name")
        told = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 64
        self._who = str(name) if told else f"number {number}"

    def read(self) -> WebhookConfig | None:
        """The webhook; None where something does not hold."""
        before = len(self._mistakes)
        keys = webhook_keys()
        for name in self._table:
            if name not in keys:
                match = nearest(name, keys, 0.5)
                guess = f"did you mean {match}?" if match else "[[webhooks]] has " + ", ".join(keys)
                self._wrong(shown("", name)[1:-1], f"is an unknown key; {guess}")
        values: dict[str, Any] = {}
        for name, about in keys.items():
            self._take(name, about, values)
        if len(self._mistakes) == before:
            self._together(values)
        return WebhookConfig(**values) if len(self._mistakes) == before else None

    def _wrong(self, name: str, problem: str, raw: object = None) -> None:
        # An address in the place of its file would be shown: somebody may have put it there.
        value = "" if raw is None or name.endswith("_file") else shown(name, raw)
        self._mistakes.append(
            ConfigMistake(self._where, problem, f"[{SECTION}]", f"{name} of {self._who}", value)
        )

    def _take(self, name: str, about: Key, values: dict[str, Any]) -> None:
        raw = self._table.get(name)
        if about.fills and (credential := self._credential(name)):
            raw = credential
        if raw is None:
            raw = about.raw
        if raw is REQUIRED:
            self._wrong(name, f"is required: {about.kind.allowed}")
            return
        try:
            value = about.kind.read(self._places.expand(raw) if about.kind.expands else raw)
        except BadValue as bad:
            self._wrong(name, f"must be {str(bad) or about.kind.allowed}", raw)
            return
        values[name] = value
        if about.fills and value is not None:
            try:
                exempt = self._places.is_credential(value)
                values[about.fills] = read_secret_file(value, exempt_from_mode=exempt)
            except SecretFileRefused as error:
                self._wrong(name, f"the file {error}")

    def _credential(self, name: str) -> str | None:
        """The systemd credential of this key."""
        if self._places.credentials is None:
            return None
        file = self._places.credentials / f"{SECTION}.{self._who}.{name}"
        return str(file) if file.is_file() else None

    def _together(self, values: dict[str, Any]) -> None:
        """What holds between keys."""
        kind = values["kind"]
        if values["name"].lower() in VERBS:
            self._wrong("name", "is a word of killsyncd ctl webhooks; choose another name")
        for name, only in _KINDS_KEYS.items():
            if kind != only and values[name] != webhook_keys()[name].kind.read(webhook_keys()[name].raw):
                self._wrong(name, f'is for kind = "{only}" alone, and this is "{kind}"')
        if values["mention_min_value"] and not values["mention_role"]:
            self._wrong("mention_min_value", "needs mention_role, the id of the role that is mentioned")
        url: Secret | None = values.get("url")
        if url is None and kind != "zkillboard":
            self._wrong(
                "url_file",
                "is required: the file with the address; make one with: (umask 077; "
                f"cat > /etc/killsyncd/{values['name']}.url)",
            )
        elif url is not None and not _is_address(url.reveal()):
            self._wrong("url_file", "the file must hold one http:// or https:// address without a fragment")
        secret: Secret | None = values.get("secret")
        if secret is not None and signing_keys(secret) is None:
            self._wrong("secret_file", f"what follows {PREFIX} in the file must be base64")


def _is_address(text: str) -> bool:
    try:
        parts = addresses.split_url(text)
    except BadValue:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment


def signing_keys(secret: Secret) -> tuple[bytes, ...] | None:
    """The keys of a secret as Standard Webhooks has them, several while one is changed for another; None
    where one is none.
    """
    text = secret.reveal().strip()
    if not text.startswith(PREFIX):
        return (text.encode(),)
    keys = []
    for word in text.split():
        try:
            keys.append(base64.b64decode(word.removeprefix(PREFIX), validate=True))
        except binascii.Error:
            return None
    return tuple(keys) if all(keys) else None
