"""Nothing secret gets out: every token, code, state, verifier, secret and hash of a busy life is looked for
in everything that comes out of the daemon.

The proxy between daemon and EVE remembers what went by; canaries are added in every place where somebody
from outside can put one. Logs are at `debug`. Killmail hashes may be in the API and in exports, whose
readers are entitled to them, and nowhere else.
"""

from __future__ import annotations

import base64
import json
import re
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import DaemonProcess, wait_for
from tests.support.login_browser import _get
from tests.support.recorder import Recorder, Secrets
from tests.support.stage import Stage
from tests.support.stopped_daemon import ask_the_sso_again

CANARY = "Canary7Xq2Zr9Kd4Lw8Tn3Vb6"
CLIENT_SECRET = f"client{CANARY}secret"
API_TOKEN = f"api{CANARY}token"
BLOCK = 10
"""A part of a secret that is twice as long as this holds a whole block, and so is found."""

EVERYTHING = ("access_token", "refresh_token", "token", "code", "state", "code_verifier", "basic")
OWN = ("client_secret", "api_token", "cookie", "key", "canary")


def forms(secret: str) -> Iterator[str]:
    """How a secret may look when it shows: as it is, in an address, in base64."""
    yield secret
    if quote(secret, safe="") != secret:
        yield quote(secret, safe="")
    yield base64.b64encode(secret.encode()).decode().rstrip("=")[:-2]


def blocks(secret: str) -> set[str]:
    """What must not show of a secret: blocks of a JWT's signature (the rest of it is the same for
    everybody), of anything else blocks of the whole."""
    core = secret.rpartition(".")[2] if secret.startswith("eyJ") else secret
    return {core[at : at + BLOCK] for at in range(0, max(1, len(core) - BLOCK + 1), BLOCK)}


def needles(secrets: Iterable[str]) -> set[bytes]:
    return {block.encode() for secret in secrets for form in forms(secret) for block in blocks(form)}


RUN = re.compile(rb"[\w+/=%%.~-]{%d,}" % BLOCK)
"""Where a block can stand: thousands of them are looked for in megabytes."""


def assert_clean(where: str, content: bytes, secrets: Iterable[str]) -> None:
    """No secret, and no piece of one."""
    wanted = needles(secrets)
    usual = {each for each in wanted if len(each) == BLOCK and RUN.fullmatch(each)}
    at = min((content.find(each) for each in wanted - usual if each in content), default=-1)
    for run in RUN.finditer(content) if at < 0 and usual else ():
        word = run[0]
        for position in range(len(word) - BLOCK + 1):
            if word[position : position + BLOCK] in usual:
                at = run.start() + position
                break
    assert at < 0, f"{where} holds a secret: ...{content[max(0, at - 80) : at + 60]!r}"


def test_the_search_finds_what_is_there() -> None:
    secret = "0123456789abcdefghijKLMNOPQRST"
    for text in (secret, quote(secret), base64.b64encode(secret.encode()).decode(), f"x={secret[5:28]}&"):
        with pytest.raises(AssertionError):
            assert_clean("the text", text.encode(), [secret])
    assert_clean("the text", b"01234567 9abcdefgh jKLMNOPQ", [secret])
    for odd in ("a secret with spaces", "short"):
        with pytest.raises(AssertionError):
            assert_clean("the text", f"x={odd}&".encode(), [odd])


def browse(daemon: DaemonProcess, eve: str, pilot: int, secrets: Secrets) -> list[str]:
    """A login as a browser does it; every page and address of ours on the way."""
    cookies: dict[str, str] = {}
    seen = []
    address = f"{daemon.url}/auth/login"
    while True:
        if address.startswith(eve) and "_sim_character" not in address:
            address += f"&_sim_character={pilot}"
        status, headers, body = _get(address, cookies if address.startswith(daemon.url) else {})
        for value in cookies.values():
            secrets.add("cookie", value)
        if address.startswith(daemon.url):
            seen.append(body)
        if status != 302:
            assert status == 200, body
            # Again with the same address: used up.
            seen.append(_get(address, cookies)[2])
            return seen
        address = headers["Location"]
        if address.startswith("/"):
            address = daemon.url + address


class Life:
    """A daemon that has seen everything, and what came out of it by then."""

    def __init__(self, stage: Stage, tmp_path: Path) -> None:
        self.stage = stage
        self.secrets = Secrets()
        self.outputs: dict[str, bytes] = {}
        self.hashed: dict[str, bytes] = {}
        secret_file, token_file = tmp_path / "client_secret", tmp_path / "api_token"
        for file, text in ((secret_file, CLIENT_SECRET), (token_file, API_TOKEN)):
            file.write_text(text + "\n")
            file.chmod(0o600)
        self.secrets.add("client_secret", CLIENT_SECRET)
        self.secrets.add("api_token", API_TOKEN)
        self.secrets.add("canary", CANARY)
        self.eve = stage.eve(
            pilots=4,
            history=25,
            client_secret_file=str(secret_file),
            issuer="https://login.eveonline.com",
            token_life=9,
            cache=2,
        )
        self.settings = {
            "sso": {"client_secret_file": str(secret_file)},
            "api": {"token_file": str(token_file)},
            "producer": {"interval": "2s", "min_age": "1s"},
            "log": {"level": "debug", "format": "json"},
        }

    def go(self, recorder: Recorder) -> None:
        """Live."""
        self.daemon = self.stage.daemon(recorder.url, self.settings)
        pilots = [each["character_id"] for each in self.eve.pilots()]
        for mail in self.eve.mails():
            self.secrets.add("killmail_hash", mail["killmail_hash"])
        self._refused_mail()
        for pilot in pilots[:3]:
            for number, text in enumerate(browse(self.daemon, recorder.url, pilot, self.secrets)):
                self.outputs[f"page {number} of the login of {pilot}"] = text.encode()
        self._login_from_the_terminal(recorder.url, pilots[3])
        self._strangers()
        wait_for(lambda: min(self._refreshes(pilots)) >= 2, 60, self.daemon.tail)
        self._bad_days_of_the_sso(pilots)
        wait_for(lambda: self.daemon.ctl("failed")["failed"], 60, self.daemon.tail)
        self._ask_everything()
        self._files("while it runs")
        self.daemon.kill()  # a core of what was going on: the WAL stays behind
        self._files("after SIGKILL")
        self.daemon.start()
        assert self.daemon.stop(signal.SIGTERM) == 0
        self._files("after the end")
        self.outputs["the log"] = self.daemon.log.read_bytes()
        for line in (self.daemon.folder / "killsyncd.key").read_text().splitlines():
            if line and not line.startswith("#"):
                self.secrets.add("key", line.split()[1])

    def _refreshes(self, pilots: list[int]) -> list[int]:
        counted = self.eve.counters()["refreshes"]
        return [counted.get(str(pilot), 0) for pilot in pilots]

    def _refused_mail(self) -> None:
        """One mail that ESI refuses, with its hash in the words."""
        mail = self.eve.mails()[0]
        words = json.dumps({"error": f"Invalid killmail {mail['killmail_id']} {mail['killmail_hash']}"})
        self.eve.script("status", "esi.killmail", killmail=mail["killmail_id"], status=422, body=words)
        self.stage.provoked.add("client-errors")

    def _login_from_the_terminal(self, eve: str, pilot: int) -> None:
        """`login --paste`: wrongly, then rightly. Its address holds the state, as it must."""
        wrong = f"{self.daemon.url}/auth/callback?code=code{CANARY}&state=state{CANARY}"
        self._command("login --paste, wrongly", "login", "--paste", stdin=wrong + "\n", expect={1})
        begun = self.daemon.command("ctl", "login-url", "--json")
        address = json.loads(begun.stdout)["url"]
        headers = _get(f"{address}&_sim_character={pilot}", {})[1]
        request = "/v1/login/paste"
        pasted = self._socket(request, {"url": headers["Location"]})
        self.outputs["the answer to what was pasted"] = pasted

    def _socket(self, path: str, body: object) -> bytes:
        from killsyncd.control.client import reach

        client = reach([(str(self.daemon.folder / "killsyncd.sock"), "the test")])
        return json.dumps(client.post(path, body)).encode()

    def _strangers(self) -> None:
        """What people without rights send."""
        word = CANARY
        self.secrets.add("canary", f"code{word}")
        for path in (
            f"/auth/callback?code=code{word}&state=state{word}",
            f"/auth/callback?error=access_denied&error_description=desc{word}&state=state{word}",
            f"/graphql?query={{status{{version}}}}&access_token=token{word}",
            f"/nowhere?token=token{word}",
        ):
            self.outputs[path.partition("?")[0]] = self.daemon.get(path)[1].encode()
        for header in (f"Bearer token{word}", f"Basic {word}", f"Bearer eyJhbGciOiJ9.eyJ9.{word}"):
            self.outputs[f"refused {header[:6]}"] = self.daemon.get("/metrics", {"Authorization": header})[
                1
            ].encode()
        query = "mutation($c: String!, $s: String!) {authenticateWithCode(code: $c, state: $s) {message}}"
        variables = {"c": f"code{word}", "s": f"state{word}"}
        self.outputs["authenticateWithCode"] = self._graphql(query, variables)

    def _bad_days_of_the_sso(self, pilots: list[int]) -> None:
        """Answers of the SSO that are not what they should be, with secrets in them."""
        page = (
            f"<html>upstream failed for refresh_token=refresh{CANARY} code_verifier=verifier{CANARY}</html>"
        )
        self.eve.script("status", "sso.token", status=502, body=page, count=2)
        broken = json.dumps({"access_token": f"eyJhbGciOiJSUzI1NiJ9.e30.{CANARY}", "expires_in": "soon"})
        self.eve.script("body", "sso.token", body=broken, count=1)
        before = self._refreshes(pilots)
        wait_for(lambda: all(a > b for a, b in zip(self._refreshes(pilots), before, strict=True)), 90)
        sound = "SELECT character_id FROM users u JOIN grants g ON g.user_id = u.id WHERE g.unanswered = 0"
        self.eve.revoke(int(self.daemon.value(f"{sound} AND g.failures = 0 LIMIT 1")))
        ask_the_sso_again(self.daemon)
        wait_for(lambda: "needs_login" in str(self.daemon.ctl("users")), 60, self.daemon.tail)

    def _ask_everything(self) -> None:
        """Everything that answers, in every form it has."""
        bearer = {"Authorization": f"Bearer {API_TOKEN}"}
        for path in ("/", "/metrics", "/healthz", "/readyz", "/schema.graphql", "/auth/logout"):
            self.outputs[path] = self.daemon.get(path, bearer)[1].encode()
        fields = "id characterId characterName state stateReason lastKillmailId expiresAt pending"
        self.outputs["GraphQL: status"] = self._graphql(
            f"{{status {{syncing problems {{code reason remedy}} feedCursor}} users {{{fields}}} "
            "workerStatus {queueName messageCount}}"
        )
        self.hashed["GraphQL: killmails"] = self._graphql("{killmails {edges {node {killmailHash raw}}}}")
        self.outputs["GraphQL: introspection"] = self._graphql("{__schema {types {name fields {name}}}}")
        self.outputs["GraphQL: error"] = self._graphql("{nothing}")
        failed = self.daemon.ctl("failed")["failed"][0]["killmailId"]
        for words in (
            ("status",),
            ("users",),
            ("failed",),
            ("verify",),
            ("explain", str(failed)),
            ("queue", "--force"),
        ):
            self._command(f"ctl {words[0]}", "ctl", *words, expect={0, 1})
            self._command(f"ctl {words[0]} --json", "ctl", *words, "--json", expect={0, 1})
        self._command("check", "check", expect={0, 78})
        folder = self.daemon.folder
        self._command("backup", "backup", "--output", str(folder / "backup.tar"))
        self._command("export", "export", "--output", str(folder / "export.jsonl"))
        self.outputs["the backup"] = (folder / "backup.tar").read_bytes()
        self.hashed["the export"] = (folder / "export.jsonl").read_bytes()
        for name in ("cmdline", "environ"):
            self.outputs[f"/proc/PID/{name}"] = Path(f"/proc/{self.daemon.pid}/{name}").read_bytes()

    def _graphql(self, query: str, variables: object = None) -> bytes:
        body = json.dumps({"query": query, "variables": variables})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {API_TOKEN}"}
        return self.daemon.request("POST", "/graphql", body, headers)[1].encode()

    def _command(
        self, name: str, *words: str, stdin: str | None = None, expect: set[int] | None = None
    ) -> None:
        done = self.daemon.command(*words, stdin=stdin)
        assert done.returncode in (expect or {0}), f"{name}: {done.stderr}"
        # The address of a login holds its state: whoever reads it is to use it.
        text = re.sub(r"https?://\S+/authorize\?\S+", "ADDRESS", done.stdout + done.stderr)
        self.outputs[name] = text.encode()

    def _files(self, when: str) -> None:
        for file in self.daemon.folder.glob("killsyncd.db*"):
            self.hashed[f"{file.name} {when}"] = file.read_bytes()
            self.outputs[f"{file.name} {when}"] = file.read_bytes()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    from contextlib import ExitStack

    folder = tmp_path_factory.mktemp("secrets")
    with ExitStack() as stack:
        stage = Stage(folder, stack)
        found = Life(stage, folder)
        try:
            with Recorder(found.eve.base_url, found.secrets) as recorder:
                found.go(recorder)
            yield found
        finally:
            stage.abandon()


@pytest.mark.slow(45)
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("secrets")
class TestNothingGetsOut:
    def test_every_kind_of_secret_was_there(self, life: Life) -> None:
        for kind in (*EVERYTHING, *OWN, "killmail_hash"):
            if kind not in ("token", "cookie"):
                assert life.secrets.of(kind), f"no {kind} was seen: the test proves nothing of it"

    def test_no_token_code_state_or_verifier_anywhere(self, life: Life) -> None:
        secrets = life.secrets.of(*EVERYTHING, *OWN)
        assert len(secrets) > 30
        for where, content in {**life.outputs, **life.hashed}.items():
            own = life.secrets.of("api_token") if where == "/proc/PID/environ" else set()
            assert_clean(where, content, secrets - own)

    def test_no_killmail_hash_in_logs_or_answers(self, life: Life) -> None:
        hashes = life.secrets.of("killmail_hash")
        assert len(hashes) > 40
        kept = ("killsyncd.db", "the backup")  # it has to be kept somewhere
        for where, content in life.outputs.items():
            if not where.startswith(kept):
                assert_clean(where, content, hashes)

    def test_hashes_are_where_they_belong(self, life: Life) -> None:
        """The counter-proof: the search would have found them."""
        hashes = life.secrets.of("killmail_hash")
        for where in ("GraphQL: killmails", "the export", "killsyncd.db after the end"):
            assert any(each.encode() in life.hashed[where] for each in hashes), where

    def test_the_log_was_worth_reading(self, life: Life) -> None:
        events = [json.loads(line)["event"] for line in life.outputs["the log"].splitlines()]
        assert len(set(events)) > 15, sorted(set(events))
