"""A small client of ESI and SSO for the simulator's own tests; it knows nothing of killsyncd's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp

from killsyncd.simulator import KILLMAIL_SCOPE, RemoteLevers, Simulator

SHARED = Path(__file__).parents[3] / "shared"
CALLBACK = "http://127.0.0.1:1/auth/callback"
VERIFIER = "a-verifier-that-is-long-enough-for-the-rfc-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
MANNERS = {"User-Agent": "simulator-tests/1.0 (you@example.com)", "X-Compatibility-Date": "2026-08-18"}


class FakeClock:
    """Both clocks in one hand."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self.now = wall

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - 1_000_000.0


class ReceivedResponse:
    """Status, headers and body of an answer that was read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        import orjson

        return orjson.loads(self.body)


class Caller:
    """Asks a simulator politely; redirects are not followed."""

    def __init__(self, simulator: Simulator | RemoteLevers) -> None:
        self.simulator = simulator
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=MANNERS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, path: str, method: str = "GET", **options: Any) -> ReceivedResponse:
        assert self._session is not None
        url = path if "://" in path else self.simulator.base_url + path
        async with self._session.request(method, url, allow_redirects=False, **options) as response:
            return ReceivedResponse(response.status, response.headers, await response.read())

    async def list(self, character_id: int, token: str, page: int = 1, **headers: str) -> ReceivedResponse:
        sent = {"Authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        suffix = f"?page={page}" if page > 1 else ""
        return await self.ask(f"/characters/{character_id}/killmails/recent{suffix}", headers=sent)

    async def detail(self, ref: Mapping[str, Any], **headers: str) -> ReceivedResponse:
        return await self.ask(
            f"/killmails/{ref['killmail_id']}/{ref['killmail_hash']}",
            headers={k.replace("_", "-"): v for k, v in headers.items()},
        )

    async def authorize(self, client_id: str, **changes: str | None) -> ReceivedResponse:
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "scope": KILLMAIL_SCOPE,
            "state": "s-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return await self.ask(
            "/v2/oauth/authorize", params={key: value for key, value in query.items() if value is not None}
        )

    async def token(self, form: Mapping[str, str], **options: Any) -> ReceivedResponse:
        return await self.ask("/v2/oauth/token", "POST", data=form, **options)

    async def login(self, client_id: str, character_id: int, **changes: str | None) -> Any:
        """The token endpoint's answer for a pilot who clicked on himself."""
        back = await self.authorize(client_id, _sim_character=str(character_id), **changes)
        answer = await self.token(
            {
                "grant_type": "authorization_code",
                "client_id": client_id,
                "code": sent_back(back)["code"],
                "code_verifier": VERIFIER,
            }
        )
        assert answer.status == 200, answer.body
        return answer.json()


def sent_back(answer: ReceivedResponse) -> dict[str, str]:
    """The query that the browser brings back to the application."""
    assert answer.status == 302, answer.body
    return {key: values[0] for key, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def rules(simulator: Simulator | RemoteLevers) -> list[str]:
    """The rules that were broken, in order."""
    return [breach["rule"] for breach in simulator.breaches()]
