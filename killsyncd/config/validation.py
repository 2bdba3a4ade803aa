"""What holds between keys, and passwords in URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from killsyncd.config.address_types import host_of, is_loopback, split_listen
from killsyncd.config.configuration import keys_of
from killsyncd.config.errors import ConfigMistake, shown
from killsyncd.config.secret import Secret
from killsyncd.config.webhooks import WebhookConfig

FASTEST = 150
"""Requests a second: the burst that ESI bears."""


SHORTEST_TOKEN = 32
"""Characters of [api] token_file: 128 bits, where it is made as the documents say."""


class _Given(Protocol):
    @property
    def where(self) -> str: ...

    @property
    def private(self) -> bool: ...


def run(
    sections: Mapping[str, dict[str, Any]],
    origins: Mapping[str, str],
    given: Mapping[tuple[str, str], _Given],
    where: str,
    mistakes: list[ConfigMistake],
) -> None:
    """Check what single keys cannot, and move passwords out of URLs; adds to `mistakes`.

    Keys that were mistaken themselves are absent from `sections` and are left alone.
    """
    for section in ("database", "queue"):
        _password_in_url(section, sections[section], given, mistakes)
    _pace(sections["esi"], origins, where, mistakes)
    _two_queues(sections["queue"], origins, where, mistakes)
    _examples(sections, origins, where, mistakes)
    for section in ("sso", "esi"):
        _in_the_clear(section, "base_url", TOKENS_TRAVEL, sections[section], origins, where, mistakes)
    for section, key in THIRD_PARTIES:
        _in_the_clear(section, key, COULD_BE_CHANGED, sections[section], origins, where, mistakes)
    api = sections["api"]
    token = api.get("token")
    if token is not None and len(token.reveal()) < SHORTEST_TOKEN:
        problem = (
            f"holds a token shorter than {SHORTEST_TOKEN} characters, which can be guessed; make a new one "
            f"with: (umask 077; openssl rand -hex 32 > {api['token_file']})"
        )
        mistakes.append(ConfigMistake(origins.get("api.token_file", where), problem, "api", "token_file"))
    if "listen" in api and "token_file" in api and api["token_file"] is None:
        host, _ = split_listen(api["listen"])
        if not is_loopback(host):
            problem = (
                f"is required when listen = {shown('', api['listen'])} is not loopback; make one with: "
                "(umask 077; openssl rand -hex 32 > /etc/killsyncd/api.token)"
            )
            mistakes.append(ConfigMistake(origins.get("api.listen", where), problem, "api", "token_file"))


def _two_queues(
    queue: Mapping[str, Any], origins: Mapping[str, str], where: str, mistakes: list[ConfigMistake]
) -> None:
    """A message of one would be read as one of the other."""
    name = queue.get("corporation_name")
    if name is not None and name == queue.get("name"):
        origin = origins.get("queue.corporation_name", origins.get("queue.name", where))
        problem = "must differ from name: the messages of the two queues are not the same"
        mistakes.append(ConfigMistake(origin, problem, "queue", "corporation_name", shown("", name)))


def webhooks_find_what_they_need(
    webhooks: Sequence[WebhookConfig],
    sections: Mapping[str, Mapping[str, Any]],
    where: str,
    mistakes: list[ConfigMistake],
) -> None:
    """A filter by regions, classes or groups needs static data, one by value needs prices."""
    for each in webhooks:
        for section, needed, what in (
            ("static_data", each.needs_static_data, "regions, security and ship_groups need"),
            ("prices", each.needs_prices, "min_value and mention_min_value need"),
        ):
            if needed and sections.get(section, {}).get("enabled") is False:
                problem = f"{what} [{section}] enabled = true"
                mistakes.append(ConfigMistake(where, problem, "[webhooks]", each.name))


EXAMPLES = {"sso": ("client_id", "0123456789abcdef0123456789abcdef"), "esi": ("contact", "you@example.com")}
"""What the documents fill in. With CCP's own servers it lets nobody log in, and CCP reaches nobody."""


def _examples(
    sections: Mapping[str, Mapping[str, Any]],
    origins: Mapping[str, str],
    where: str,
    mistakes: list[ConfigMistake],
) -> None:
    for section, (key, example) in EXAMPLES.items():
        values = sections[section]
        base_url = values.get("base_url")
        if values.get(key) == example and base_url is not None and not is_loopback(host_of(base_url)):
            problem = "is the example's of the documents; give yours: " + keys_of(section)[key].kind.allowed
            origin = origins.get(f"{section}.{key}", where)
            mistakes.append(ConfigMistake(origin, problem, section, key, shown(key, example)))


THIRD_PARTIES = (
    ("static_data", "url"),
    ("prices", "history_url"),
    ("zkillboard", "api_url"),
    ("zkillboard", "stream_url"),
    ("history", "everef_url"),
    ("history", "zkillboard_url"),
)
TOKENS_TRAVEL = "for access tokens must not travel readable"
COULD_BE_CHANGED = "for whoever is on the way could change what comes"


def _in_the_clear(
    section: str,
    key: str,
    why: str,
    values: Mapping[str, Any],
    origins: Mapping[str, str],
    where: str,
    mistakes: list[ConfigMistake],
) -> None:
    """Without TLS only a simulator on this machine is asked."""
    url = values.get(key)
    if url is not None and urlsplit(url).scheme == "http" and not is_loopback(host_of(url)):
        problem = f"must be https://, {why}; http:// is for a simulator on this machine, at 127.0.0.1"
        origin = origins.get(f"{section}.{key}", where)
        mistakes.append(ConfigMistake(origin, problem, section, key, shown(key, url)))


def _pace(
    esi: Mapping[str, Any], origins: Mapping[str, str], where: str, mistakes: list[ConfigMistake]
) -> None:
    """ESI's own burst is the most that it may be asked; a simulator on this machine bears more."""
    pace, base_url = esi.get("requests_per_second", 0), esi.get("base_url")
    if pace > FASTEST and base_url is not None and not is_loopback(host_of(base_url)):
        problem = f"must be a number above 0 and at most {FASTEST}"
        given = f"{pace:g}"
        origin = origins.get("esi.requests_per_second", where)
        mistakes.append(ConfigMistake(origin, problem, "esi", "requests_per_second", given))


def _password_in_url(
    section: str,
    values: dict[str, Any],
    given: Mapping[tuple[str, str], _Given],
    mistakes: list[ConfigMistake],
) -> None:
    url = values.get("url")
    if not isinstance(url, str) or url == "embedded" or url.startswith("sqlite:"):
        return
    bare, password = split_password(url)
    passphrase = any(name == "sslpassword" for name, _ in parse_qsl(urlsplit(url).query))
    if password is None and not passphrase:
        return
    values["url"] = bare
    one = given.get((section, "url"))
    where = one.where if one else "default"

    def mistaken(problem: str) -> None:
        mistakes.append(ConfigMistake(where, problem, section, "url", shown("url", url)))

    if one is not None and not one.private:
        remedy = f"put it into a file of mode 0600 and name that as password_file of [{section}]"
        if password is None:
            remedy = "give the address in a configuration file of mode 0600"
        if where == "environment":
            mistaken(f"a password is not taken from the environment, which others may see; {remedy}")
        else:
            mistaken(f"a password is taken from a file of mode 0600 only; do: chmod 600 {where}; or {remedy}")
    elif password is None:
        pass
    elif values.get("password_file") is not None:
        mistaken("has a password, and password_file names another; keep one of them")
    else:
        values["password"] = Secret(password)


def split_password(url: str) -> tuple[str, str | None]:
    """A URL without its password, and the password (None if it had none).

    Both places that drivers read are looked at: `user:password@` and, as libpq has it, `?password=`.
    """
    parts = urlsplit(url)
    password: str | None = None
    netloc = parts.netloc
    user_info, at, host = netloc.rpartition("@")
    if at and ":" in user_info:
        user, _, quoted = user_info.partition(":")
        netloc, password = f"{user}@{host}", unquote(quoted)
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if name != "password"]
    if len(kept) != len(query):
        password = password or next(value for name, value in query if name == "password")
    text = urlencode(kept, quote_via=quote, safe="/:,") if len(kept) != len(query) else parts.query
    return parts._replace(netloc=netloc, query=text).geturl(), password or None
