"""Where a configuration comes from, and what is said when it does not hold."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from killsyncd import config
from killsyncd.config import Config, ConfigMistakes
from killsyncd.config import paths as places
from killsyncd.core.errors import EXIT_CONFIG, ConfigError

MINIMAL = '[sso]\nclient_id = "abc"\n[esi]\ncontact = "me@example.org"\n'
REQUIRED = {"KILLSYNCD_SSO_CLIENT_ID": "abc", "KILLSYNCD_ESI_CONTACT": "me@example.org"}


def write(directory: Path, text: str, mode: int = 0o600) -> Path:
    file = directory / "killsyncd.toml"
    file.write_text(text, "utf-8")
    file.chmod(mode)
    return file


@pytest.fixture(autouse=True)
def no_system_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a killsyncd installed."""
    monkeypatch.setattr(places, "SYSTEM_DIRECTORY", tmp_path / "etc")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        for each in (directory, directory / ".config/killsyncd"):
            each.chmod(0o755)


@contextmanager
def not_root() -> Iterator[None]:
    """With the rights of an ordinary user, also where root runs the tests."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


SOCKET = {"RUNTIME_DIRECTORY": "/run/killsyncd"}
"""Pytest's own folders may be too long for a socket's path."""


def refused(path: Path | None, environ: dict[str, str] | None = None) -> ConfigMistakes:
    with pytest.raises(ConfigMistakes) as caught:
        config.load(path, environ or {})
    return caught.value


def one_mistake(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    error = refused(write(tmp_path, text), environ)
    assert len(error.mistakes) == 1, error
    return str(error.mistakes[0])


class TestDefaults:
    def test_are_the_contracts(self, tmp_path: Path) -> None:
        loaded = config.load(write(tmp_path, MINIMAL), {"HOME": "/home/me"})
        assert loaded.sso.base_url == "https://login.eveonline.com"
        assert loaded.sso.client_secret is None
        assert loaded.sso.callback_url == "http://127.0.0.1:7420/auth/callback"
        assert loaded.sso.scopes == ("esi-killmails.read_killmails.v1",)
        assert loaded.esi.base_url == "https://esi.evetech.net"
        assert loaded.esi.compatibility_date == "2026-08-18"
        assert (loaded.esi.requests_per_second, loaded.esi.max_connections) == (50.0, 20)
        assert (loaded.esi.timeout, loaded.esi.egress) == (20.0, "default")
        assert loaded.database.url == "sqlite:////home/me/.local/state/killsyncd/killsyncd.db"
        assert loaded.database.sqlite_path == Path("/home/me/.local/state/killsyncd/killsyncd.db")
        assert (loaded.queue.url, loaded.queue.name) == ("embedded", "esi_user_killmails_queue")
        assert (loaded.queue.concurrency, loaded.queue.skip_within) == (8, 900.0)
        assert not loaded.queue.include_tokens
        assert (loaded.producer.enabled, loaded.producer.interval) == (True, 600.0)
        assert (loaded.producer.min_age, loaded.producer.full_walk) == (480.0, 86400.0)
        assert (loaded.producer.max_pages, loaded.refresher.margin) == (50, 300.0)
        assert (loaded.api.host, loaded.api.port, loaded.api.loopback) == ("127.0.0.1", 7420, True)
        assert (loaded.api.token, loaded.api.allowed_hosts, loaded.api.images) == (None, (), False)
        assert loaded.security.key_file == Path("/home/me/.local/state/killsyncd/killsyncd.key")
        assert (loaded.log.level, loaded.log.format) == ("info", "auto")

    def test_a_pilot_is_in_every_run(self) -> None:
        producer = config.ProducerConfig()
        assert producer.min_age < producer.interval

    def test_nothing_is_created(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path), "STATE_DIRECTORY": f"{tmp_path}/state", **REQUIRED}
        config.load(None, environ)
        assert list(tmp_path.iterdir()) == []


class TestSearch:
    def test_named_file_goes_first(self, tmp_path: Path) -> None:
        file = write(tmp_path, MINIMAL)
        loaded = config.load(file, {"KILLSYNCD_CONFIG": "/nowhere/else.toml"})
        assert loaded.source == str(file)

    def test_environment_names_one(self, tmp_path: Path) -> None:
        file = write(tmp_path, MINIMAL)
        assert config.load(None, {"KILLSYNCD_CONFIG": str(file)}).source == str(file)

    def test_configuration_directory_then_home(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        (home / ".config/killsyncd").mkdir(parents=True)
        in_home = write(home / ".config/killsyncd", MINIMAL)
        environ = {"HOME": str(home), "CONFIGURATION_DIRECTORY": f"{tmp_path}:/etc/other", **SOCKET}
        assert config.load(None, environ).source == str(in_home)
        in_directory = write(tmp_path, MINIMAL)
        assert config.load(None, environ).source == str(in_directory)

    def test_none_is_fine_with_the_environment(self, tmp_path: Path) -> None:
        loaded = config.load(None, {"HOME": str(tmp_path), **SOCKET, **REQUIRED})
        assert loaded.source == "no file and 2 keys from the environment"

    def test_none_at_all_says_where_it_looked(self, tmp_path: Path) -> None:
        error = refused(None, {"HOME": str(tmp_path), **SOCKET})
        assert [f"{each.section}.{each.key}" for each in error.mistakes] == ["sso.client_id", "esi.contact"]
        assert f"{tmp_path}/.config/killsyncd/killsyncd.toml" in error.hint
        assert f"{tmp_path}/etc/killsyncd.toml" in error.hint

    def test_a_named_file_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file") as caught:
            config.load(tmp_path / "missing.toml", REQUIRED)
        assert caught.value.exit_code == EXIT_CONFIG

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is not a regular file"):
            config.load(tmp_path, REQUIRED)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"[esi\n", "is not TOML: .*line 1"),
            (b"[esi]\ncontact = me@example.org\n", "is not TOML: .*line 2"),
            (b"[esi]\n[esi]\n", "is not TOML"),
            (b"[esi]\ncontact = '\xff'\n", "is not UTF-8 text"),
            (b"x = " + b"[" * 100_000, "is nested too deeply|is not TOML"),
            (b"#" * 1_000_001, "is larger than"),
        ],
    )
    def test_a_broken_file(self, tmp_path: Path, content: bytes, problem: str) -> None:
        file = tmp_path / "killsyncd.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=problem) as caught:
            config.load(file, REQUIRED)
        assert str(file) in caught.value.message
        assert caught.value.hint

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        file = tmp_path / "killsyncd.toml"
        file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
        assert config.load(file, {}).sso.client_id == "abc"

    def test_an_unreadable_file_is_told_and_not_passed_over(self, open_directory: Path) -> None:
        (open_directory / ".config/killsyncd").mkdir(parents=True)
        write(open_directory / ".config/killsyncd", MINIMAL, 0o000)
        with not_root(), pytest.raises(ConfigError, match="Permission denied"):
            config.load(None, {"HOME": str(open_directory), **REQUIRED})

    def test_a_closed_directory_is_told_but_a_closed_home_is_not_ours(self, open_directory: Path) -> None:
        (open_directory / ".config/killsyncd").mkdir(parents=True)
        write(open_directory / ".config/killsyncd", MINIMAL)
        (open_directory / ".config/killsyncd").chmod(0)
        with not_root(), pytest.raises(ConfigError, match="Permission denied"):
            config.load(None, {"HOME": str(open_directory), **REQUIRED})
        open_directory.chmod(0)
        with not_root():
            assert config.load(None, {"HOME": str(open_directory), **REQUIRED}).sso.client_id == "abc"


class TestPlaces:
    def load(self, environ: dict[str, str], **keys: str) -> Config:
        sections = {"sso": {"client_id": "abc"}, "esi": {"contact": "me@example.org"}}
        return config.from_mapping(sections, {"HOME": "/home/me", **environ})

    def test_state(self) -> None:
        assert self.load({}).state_directory == Path("/home/me/.local/state/killsyncd")
        loaded = self.load({"STATE_DIRECTORY": "/var/lib/killsyncd:/var/lib/other"})
        assert loaded.state_directory == Path("/var/lib/killsyncd")
        assert loaded.security.key_file == Path("/var/lib/killsyncd/killsyncd.key")

    def test_runtime(self) -> None:
        assert self.load({}).control.socket == Path("/home/me/.local/state/killsyncd/killsyncd.sock")
        session = {"XDG_RUNTIME_DIR": "/run/user/1000"}
        assert self.load(session).control.socket == Path("/run/user/1000/killsyncd/killsyncd.sock")
        service = {**session, "RUNTIME_DIRECTORY": "/run/killsyncd"}
        assert self.load(service).control.socket == Path("/run/killsyncd/killsyncd.sock")

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ("~/kills.sock", "/home/me/kills.sock"),
            ("${STATE}/a.sock", "/home/me/.local/state/killsyncd/a.sock"),
            ("/x/y", "/x/y"),
        ],
    )
    def test_variables(self, tmp_path: Path, value: str, path: str) -> None:
        file = write(tmp_path, f'{MINIMAL}[control]\nsocket = "{value}"\n')
        assert config.load(file, {"HOME": "/home/me"}).control.socket == Path(path)

    def test_other_variables_are_refused(self, tmp_path: Path) -> None:
        said = one_mistake(tmp_path, f'{MINIMAL}[control]\nsocket = "$HOME/x"\n')
        assert '[control] socket = "$HOME/x": must be a path in which only $STATE' in said


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[esl]\n", "[esl]: is an unknown section; did you mean [esi]?"),
            ("[zzz]\n", "[zzz]: is an unknown section; sections are sso, esi,"),
            (
                "[queue]\nconcurency = 3\n",
                "[queue] concurency = 3: is an unknown key; did you mean concurrency?",
            ),
            ("[queue]\ninterval = 3\n", "[queue] interval = 3: is an unknown key; it belongs to [producer]"),
            (
                "[refresher]\nzzzzzz = 3\n",
                "[refresher] zzzzzz = 3: is an unknown key; [refresher] has margin",
            ),
            ("[api]\ntoken = 's3cret'\n", '[api] token = "***": is an unknown key; did you mean token_file?'),
        ],
    )
    def test_nearest_name(self, tmp_path: Path, text: str, said: str) -> None:
        assert said in one_mistake(tmp_path, MINIMAL + text)

    def test_outside_of_a_section(self, tmp_path: Path) -> None:
        said = one_mistake(tmp_path, 'contact = "me@example.org"\n' + MINIMAL)
        assert (
            'contact = "me@example.org": stands outside of a section; did you mean the one of [esi]?' in said
        )

    def test_not_a_section(self, tmp_path: Path) -> None:
        assert "[queue] = 3: must be a section" in one_mistake(tmp_path, "queue = 3\n" + MINIMAL)

    def test_nothing_odd_reaches_the_terminal(self, tmp_path: Path) -> None:
        said = one_mistake(tmp_path, MINIMAL + '"a\\u001b[31mb" = 1\n')
        assert "\x1b" not in said


class TestEnvironment:
    def test_goes_before_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, MINIMAL + '[producer]\ninterval = "5m"\nmin_age = "1m"\n')
        environ = {
            "KILLSYNCD_PRODUCER_INTERVAL": "2m",
            "KILLSYNCD_PRODUCER_ENABLED": "no",
            "KILLSYNCD_QUEUE_CONCURRENCY": "3",
            "KILLSYNCD_ESI_REQUESTS_PER_SECOND": "12.5",
            "KILLSYNCD_API_ALLOWED_HOSTS": "a.example, b.example",
            "KILLSYNCD_REFRESHER_MARGIN": "90",
        }
        loaded = config.load(file, environ)
        assert (loaded.producer.interval, loaded.producer.min_age) == (120.0, 60.0)
        assert not loaded.producer.enabled
        assert loaded.queue.concurrency == 3
        assert loaded.esi.requests_per_second == 12.5
        assert loaded.api.allowed_hosts == ("a.example", "b.example")
        assert loaded.refresher.margin == 90.0
        assert loaded.source == f"{file} and 6 keys from the environment"
        environ["KILLSYNCD_API_ALLOWED_HOSTS"] = '["a.example", "b.example"]'  # as the file has it
        assert config.load(file, environ).api.allowed_hosts == ("a.example", "b.example")
        assert loaded.origins["producer.interval"] == "environment"
        assert loaded.origins["producer.min_age"] == str(file)
        assert "log.level" not in loaded.origins

    @pytest.mark.parametrize(
        ("variable", "said"),
        [
            ("KILLSYNCD_QUEUE_CONCURENCY", "did you mean KILLSYNCD_QUEUE_CONCURRENCY?"),
            ("KILLSYNCD_EIS_CONTACT", "did you mean KILLSYNCD_ESI_CONTACT?"),
            ("KILLSYNCD_ESI_ZZZZZZZZZZZZ", "[esi] has base_url, contact"),
        ],
    )
    def test_unknown_variable(self, variable: str, said: str) -> None:
        error = refused(None, {**REQUIRED, variable: "1"})
        assert len(error.mistakes) == 1
        assert f"environment: {variable}: is an unknown variable" in str(error)
        assert said in str(error)

    def test_variables_of_others(self) -> None:
        environ = {"KILLSYNCD_TEST_POSTGRES": "x", "KILLSYNCD_IMAGE_TAG": "1", "PATH": "/bin"}
        assert config.load(None, {**REQUIRED, **environ}).log.level == "info"

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("KILLSYNCD_API_IMAGES", "maybe"),
            ("KILLSYNCD_QUEUE_CONCURRENCY", "many"),
            ("KILLSYNCD_QUEUE_CONCURRENCY", ""),
            ("KILLSYNCD_ESI_REQUESTS_PER_SECOND", "nan"),
            ("KILLSYNCD_ESI_REQUESTS_PER_SECOND", "fast"),
            ("KILLSYNCD_ESI_CONTACT", ""),
        ],
    )
    def test_a_bad_value_is_one_mistake_and_names_the_variable(self, variable: str, value: str) -> None:
        error = refused(None, {**REQUIRED, variable: value})
        assert len(error.mistakes) == 1, error
        assert f"environment ({variable}): [" in str(error)

    def test_a_bad_value_does_not_fall_back_on_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, MINIMAL + "[queue]\nconcurrency = 3\n")
        assert len(refused(file, {"KILLSYNCD_QUEUE_CONCURRENCY": "many"}).mistakes) == 1


class TestAllAtOnce:
    def test_every_mistake_is_named(self, tmp_path: Path) -> None:
        file = write(
            tmp_path,
            "[sso]\n[wallet]\n[esi]\n"
            'contact = ""\nrequests_per_second = 500\ntimeout = "5 parsecs"\nburst = 1\n',
        )
        error = refused(file, {"KILLSYNCD_LOG_LEVEL": "loud"})
        lines = str(error).split("\n")
        assert lines[0] == "7 mistakes in the configuration:"
        assert f"  {file}: [esi] requests_per_second = 500: must be a number above 0 and at most 150" in lines
        assert any(
            f'{file}: [esi] timeout = "5 parsecs": must be a duration above 0s' in line for line in lines
        )
        assert any(
            '[log] level = "loud": must be one of debug, info, warning, error' in line for line in lines
        )
        assert any("[sso] client_id: is required" in line for line in lines)
        assert any("[esi] contact" in line and "is required" in line for line in lines)
        assert error.exit_code == EXIT_CONFIG
        assert "docs/configuration.md" in error.hint


class TestBetweenKeys:
    @pytest.mark.parametrize(
        "listen", ["0.0.0.0:7420", "[::]:7420", "192.0.2.1:80", "kills.example.org:7420"]
    )
    def test_beyond_loopback_a_token_is_required(self, tmp_path: Path, listen: str) -> None:
        said = one_mistake(tmp_path, f'{MINIMAL}[api]\nlisten = "{listen}"\n')
        assert f'[api] token_file: is required when listen = "{listen}" is not loopback' in said

    @pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.8.8:80", "[::1]:7420", "localhost:7420"])
    def test_on_loopback_none_is(self, tmp_path: Path, listen: str) -> None:
        assert config.load(write(tmp_path, f'{MINIMAL}[api]\nlisten = "{listen}"\n'), {}).api.loopback

    def test_with_a_token_any_address_will_do(self, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("a secret as long as openssl makes it\n")
        token.chmod(0o600)
        file = write(tmp_path, f'{MINIMAL}[api]\nlisten = "[::]:7420"\ntoken_file = "{token}"\n')
        loaded = config.load(file, {})
        assert loaded.api.token is not None
        assert loaded.api.token.reveal() == "a secret as long as openssl makes it"
        assert (loaded.api.host, loaded.api.port, loaded.api.loopback) == ("::", 7420, False)

    @pytest.mark.parametrize("size", [1, 31])
    def test_a_token_that_can_be_guessed_is_refused(self, tmp_path: Path, size: int) -> None:
        token = tmp_path / "token"
        token.write_text("Q" * size)
        token.chmod(0o600)
        with pytest.raises(ConfigMistakes) as refused:
            config.load(write(tmp_path, f'{MINIMAL}[api]\ntoken_file = "{token}"\n'), {})
        assert "shorter than 32 characters" in str(refused.value)
        assert f"(umask 077; openssl rand -hex 32 > {token})" in str(refused.value)
        assert "Q" not in str(refused.value)


class TestBaseUrls:
    @pytest.mark.parametrize("section", ["sso", "esi"])
    @pytest.mark.parametrize(
        "url", ["http://esi.example.org", "HTTP://10.0.0.1:80", "http://127.0.0.1.example"]
    )
    def test_tokens_do_not_travel_in_the_clear(self, section: str, url: str) -> None:
        sections: dict[str, dict[str, object]] = {
            "sso": {"client_id": "abc"},
            "esi": {"contact": "me@example.com"},
        }
        sections[section]["base_url"] = url
        with pytest.raises(ConfigMistakes, match=rf"\[{section}\] base_url = .*must be https://"):
            config.from_mapping(sections)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"])
    def test_a_simulator_on_this_machine_needs_none(self, url: str) -> None:
        assert config.from_mapping(
            {
                "sso": {"client_id": "abc", "base_url": url},
                "esi": {"contact": "me@example.com", "base_url": url},
            }
        )


class TestFromMapping:
    def test_ignores_the_environment_and_trusts_memory(self) -> None:
        loaded = config.from_mapping(
            {
                "sso": {"client_id": "abc", "base_url": "http://127.0.0.1:9000/"},
                "esi": {"contact": "me@example.org"},
                "queue": {"url": "amqp://guest:gu%40est@127.0.0.1/%2F"},
            },
            {"HOME": "/h", "KILLSYNCD_ESI_CONTACT": "\n", "KILLSYNCD_NONSENSE": "1"},
            "the demo",
        )
        assert loaded.source == "the demo"
        assert loaded.sso.base_url == "http://127.0.0.1:9000"
        assert loaded.queue.url == "amqp://guest@127.0.0.1/%2F"
        assert loaded.queue.password is not None
        assert loaded.queue.password.reveal() == "gu@est"

    def test_is_as_strict(self) -> None:
        with pytest.raises(ConfigMistakes, match="a mapping: \\[esi\\] contacts"):
            config.from_mapping(
                {"sso": {"client_id": "abc"}, "esi": {"contact": "Me Myself", "contacts": "x"}}
            )

    def test_the_two_queues_have_names_of_their_own(self) -> None:
        with pytest.raises(ConfigMistakes, match=r"corporation_name .*must differ from name"):
            config.from_mapping(
                {
                    "sso": {"client_id": "abc"},
                    "esi": {"contact": "me@example.com"},
                    "queue": {"corporation_name": "esi_user_killmails_queue"},
                }
            )
