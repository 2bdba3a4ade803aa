"""Secrets: files that nobody else may read, credentials, passwords in URLs, and that nothing shows them."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest

from killsyncd import config
from killsyncd.config import ConfigMistakes, Secret
from killsyncd.config import paths as places

REQUIRED = {"KILLSYNCD_SSO_CLIENT_ID": "abc", "KILLSYNCD_ESI_CONTACT": "me@example.org"}
MINIMAL = '[sso]\nclient_id = "abc"\n[esi]\ncontact = "me@example.org"\n'
CANARY = "c4n4ry-s3cr3t-of-forty-characters-or-so"
OTHER = "another-secret-of-forty-characters-or-so"


@pytest.fixture(autouse=True)
def no_system_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a killsyncd installed."""
    monkeypatch.setattr(places, "SYSTEM_DIRECTORY", tmp_path / "etc")


def secret_file(directory: Path, name: str, content: str | bytes = CANARY + "\n", mode: int = 0o600) -> Path:
    file = directory / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(mode)
    return file


def refusal(path: Path | None, environ: dict[str, str]) -> str:
    with pytest.raises(ConfigMistakes) as caught:
        config.load(path, {**REQUIRED, **environ})
    assert len(caught.value.mistakes) == 1, caught.value
    assert CANARY not in str(caught.value)
    return str(caught.value)


class TestSecret:
    def test_does_not_show_itself(self) -> None:
        secret = Secret(CANARY)
        assert [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{[secret]}"] == ["***"] * 4 + [
            "[***]"
        ]
        assert secret.reveal() == CANARY

    def test_compares(self) -> None:
        assert Secret("a") == Secret("a") != Secret("b")
        assert Secret("a").matches("a")
        assert not Secret("a").matches("\ud800")
        assert len({Secret("a"), Secret("a")}) == 1
        assert not Secret("")

    def test_stays_in_the_process(self) -> None:
        with pytest.raises(TypeError):
            pickle.dumps(Secret(CANARY))
        assert copy.deepcopy(Secret(CANARY)) == Secret(CANARY)


class TestFiles:
    @pytest.mark.parametrize("mode", [0o600, 0o400])
    def test_taken(self, tmp_path: Path, mode: int) -> None:
        file = secret_file(tmp_path, "secret", mode=mode)
        loaded = config.load(None, {**REQUIRED, "KILLSYNCD_SSO_CLIENT_SECRET_FILE": str(file)})
        assert loaded.sso.client_secret == Secret(CANARY)
        assert loaded.sso.client_secret_file == file
        assert CANARY not in repr(loaded)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o660, 0o777])
    def test_open_to_others(self, tmp_path: Path, mode: int) -> None:
        file = secret_file(tmp_path, "secret", mode=mode)
        said = refusal(None, {"KILLSYNCD_SSO_CLIENT_SECRET_FILE": str(file)})
        assert f'[sso] client_secret_file = "{file}": the file has mode {mode:04o}' in said
        assert f"chmod 600 {file}" in said

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("", "is empty"),
            ("\n", "is empty"),
            ("a\nb\n", "more than one line"),
            (b"\xff\xfe", "is not UTF-8"),
            ("x" * 20_000, "is larger than"),
        ],
    )
    def test_no_secret(self, tmp_path: Path, content: str | bytes, problem: str) -> None:
        file = secret_file(tmp_path, "secret", content)
        assert problem in refusal(None, {"KILLSYNCD_API_TOKEN_FILE": str(file)})

    def test_missing(self, tmp_path: Path) -> None:
        said = refusal(None, {"KILLSYNCD_DATABASE_PASSWORD_FILE": f"{tmp_path}/none"})
        assert "[database] password_file" in said
        assert "cannot be read: No such file" in said

    def test_directories_and_pipes(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        for name in ("", "/pipe"):
            said = refusal(None, {"KILLSYNCD_QUEUE_PASSWORD_FILE": f"{tmp_path}{name}"})
            assert "is not a regular file" in said

    def test_a_secret_in_place_of_its_file_is_not_repeated(self) -> None:
        said = refusal(None, {"KILLSYNCD_SSO_CLIENT_SECRET_FILE": CANARY})
        assert '[sso] client_secret_file = "***": must be an absolute path' in said

    def test_a_crlf_file(self, tmp_path: Path) -> None:
        file = secret_file(tmp_path, "secret", f"{CANARY}\r\n")
        assert config.load(None, {**REQUIRED, "KILLSYNCD_API_TOKEN_FILE": str(file)}).api.token == Secret(
            CANARY
        )


class TestCredentials:
    @pytest.mark.parametrize("name", ["sso.client_secret_file", "client_secret_file"])
    def test_by_name(self, tmp_path: Path, name: str) -> None:
        # systemd's files may show a group bit that is an ACL's mask: no reason to refuse them.
        secret_file(tmp_path, name, mode=0o440)
        loaded = config.load(None, {**REQUIRED, "CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert loaded.sso.client_secret == Secret(CANARY)

    def test_the_section_goes_first(self, tmp_path: Path) -> None:
        secret_file(tmp_path, "token_file", OTHER)
        secret_file(tmp_path, "api.token_file")
        loaded = config.load(None, {**REQUIRED, "CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert loaded.api.token == Secret(CANARY)

    def test_it_goes_before_the_file_and_after_the_environment(self, tmp_path: Path) -> None:
        secret_file(tmp_path, "api.token_file", OTHER, 0o400)
        credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        environ = {**REQUIRED, **credentials}
        assert config.load(None, {**environ, "KILLSYNCD_API_TOKEN_FILE": ""}).api.token == Secret(OTHER)
        (tmp_path / "elsewhere").mkdir()
        mine = secret_file(tmp_path / "elsewhere", "mine")
        assert config.load(None, {**environ, "KILLSYNCD_API_TOKEN_FILE": str(mine)}).api.token == Secret(
            CANARY
        )
        # A path that the service may not even read (root's) must not be in the credential's way.
        for named in (mine, tmp_path / "not there"):
            file = tmp_path / "elsewhere" / "killsyncd.toml"
            file.write_text(f'{MINIMAL}[api]\ntoken_file = "{named}"\n')
            assert config.load(file, credentials).api.token == Secret(OTHER)

    def test_the_key_goes_before_the_file_too(self, tmp_path: Path) -> None:
        """The shipped configuration names a key file: the unit's credential lost to it without a word."""
        (tmp_path / "credentials").mkdir()
        key = secret_file(tmp_path / "credentials", "security.key_file", mode=0o440)
        file = tmp_path / "killsyncd.toml"
        file.write_text(f'{MINIMAL}[security]\nkey_file = "{tmp_path}/state.key"\n')
        loaded = config.load(file, {"CREDENTIALS_DIRECTORY": str(key.parent)})
        assert (loaded.security.key_file, loaded.security.key_is_credential) == (key, True)

    def test_a_path_into_the_credentials_needs_no_name_of_a_key(self, tmp_path: Path) -> None:
        secret_file(tmp_path, "password_file", mode=0o440)
        file = tmp_path / "killsyncd.toml"
        file.write_text(f'{MINIMAL}[database]\npassword_file = "$CREDENTIALS_DIRECTORY/password_file"\n')
        with pytest.raises(ConfigMistakes, match=r"\[queue\] password_file"):
            config.load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        file.write_text(
            file.read_text() + '[queue]\npassword_file = "$CREDENTIALS_DIRECTORY/password_file"\n'
        )
        loaded = config.load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert loaded.database.password == loaded.queue.password == Secret(CANARY)

    def test_a_name_of_two_keys(self, tmp_path: Path) -> None:
        secret_file(tmp_path, "password_file")
        with pytest.raises(ConfigMistakes, match=r"name it database\.password_file or queue\.password_file"):
            config.load(None, {**REQUIRED, "CREDENTIALS_DIRECTORY": str(tmp_path)})

    def test_as_a_path(self, tmp_path: Path) -> None:
        secret_file(tmp_path, "db", mode=0o440)
        environ = {"KILLSYNCD_DATABASE_PASSWORD_FILE": "$CREDENTIALS_DIRECTORY/db"}
        loaded = config.load(None, {**REQUIRED, **environ, "CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert loaded.database.password == Secret(CANARY)
        assert "$CREDENTIALS_DIRECTORY is set only where systemd" in refusal(None, environ)

    def test_the_key(self, tmp_path: Path) -> None:
        loaded = config.load(None, {**REQUIRED, "CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert not loaded.security.key_is_credential
        key = secret_file(tmp_path, "key_file")
        loaded = config.load(None, {**REQUIRED, "CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert (loaded.security.key_file, loaded.security.key_is_credential) == (key, True)

    def test_no_token_is_asked_for_when_one_is_a_credential(self, tmp_path: Path) -> None:
        secret_file(tmp_path, "api.token_file")
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "KILLSYNCD_API_LISTEN": "0.0.0.0:7420"}
        assert config.load(None, {**REQUIRED, **environ}).api.token == Secret(CANARY)


class TestPasswordsInUrls:
    URLS = (
        ("database", f"postgresql://me:{CANARY}@db/kills", "postgresql://me@db/kills"),
        (
            "database",
            f"postgresql://db/kills?password={CANARY}&sslmode=require",
            "postgresql://db/kills?sslmode=require",
        ),
        ("queue", f"amqp://me:{CANARY}@mq/vhost", "amqp://me@mq/vhost"),
    )

    @pytest.mark.parametrize("mode", [0o600, 0o400])
    @pytest.mark.parametrize(("section", "url", "bare"), URLS)
    def test_from_a_private_file(self, tmp_path: Path, section: str, url: str, bare: str, mode: int) -> None:
        file = secret_file(tmp_path, "killsyncd.toml", f'{MINIMAL}[{section}]\nurl = "{url}"\n', mode)
        loaded = config.load(file, {})
        part = getattr(loaded, section)
        assert (part.url, part.password) == (bare, Secret(CANARY))
        assert CANARY not in repr(loaded)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    @pytest.mark.parametrize(("section", "url", "bare"), URLS)
    def test_from_an_open_file(self, tmp_path: Path, section: str, url: str, bare: str, mode: int) -> None:
        file = secret_file(tmp_path, "killsyncd.toml", f'{MINIMAL}[{section}]\nurl = "{url}"\n', mode)
        said = refusal(file, {})
        assert f"[{section}] url" in said
        assert f"chmod 600 {file}" in said

    @pytest.mark.parametrize(("section", "url", "bare"), URLS)
    def test_from_the_environment(self, section: str, url: str, bare: str) -> None:
        said = refusal(None, {f"KILLSYNCD_{section.upper()}_URL": url})
        assert f"password_file of [{section}]" in said

    def test_an_open_file_without_a_password_is_fine(self, tmp_path: Path) -> None:
        file = secret_file(tmp_path, "killsyncd.toml", MINIMAL, 0o644)
        assert config.load(file, {}).sso.client_id == "abc"

    def test_a_passphrase_is_a_password(self, tmp_path: Path) -> None:
        url = f"postgresql://me@db/kills?sslkey=/k.pem&sslpassword={CANARY}"
        assert "file of mode 0600" in refusal(None, {"KILLSYNCD_DATABASE_URL": url})
        text = f'{MINIMAL}[database]\nurl = "{url}"\n'
        assert "chmod 600" in refusal(secret_file(tmp_path, "killsyncd.toml", text, 0o644), {})
        assert config.load(secret_file(tmp_path, "killsyncd.toml", text), {}).database.url == url

    def test_two_passwords(self, tmp_path: Path) -> None:
        secret = secret_file(tmp_path, "secret")
        text = f'{MINIMAL}[queue]\nurl = "amqp://me:{CANARY}@mq/v"\npassword_file = "{secret}"\n'
        assert "keep one of them" in refusal(secret_file(tmp_path, "killsyncd.toml", text), {})

    def test_a_malformed_url_does_not_repeat_it(self, tmp_path: Path) -> None:
        text = f'{MINIMAL}[queue]\nurl = "http://me:{CANARY}@mq/v"\n'
        assert "http://me:***@mq/v" in refusal(secret_file(tmp_path, "killsyncd.toml", text), {})
