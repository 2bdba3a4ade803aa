"""HTTP to the SSO, bounded in time and size, with every failure told as SsoUnavailable.

No exception from here carries a request's body or an answer's: both hold tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from killsyncd.auth.grant import BY_ITSELF, SsoUnavailable
from killsyncd.core.clock import Clock
from killsyncd.core.server_clock import ServerTime, parse_http_date

MAX_BODY = 256 * 1024  # CCP's key set has 1 KiB, a token answer 3
_MAX_RETRY_AFTER = 3600.0
_APPLICATION = (
    "Check sso.client_id and sso.client_secret_file against https://developers.eveonline.com; "
    "a public client must have no secret."
)
_OF_THE_APPLICATION = {
    "invalid_client": _APPLICATION,
    "unauthorized_client": _APPLICATION,
    "unsupported_grant_type": "Check sso.base_url, and at https://developers.eveonline.com that the "
    "application is one for authentication and API access.",
}
"""Errors of RFC 6749, 5.2 that concern the application and so everybody, and what its operator can do."""

_NO_TOKEN = f"Check sso.base_url: somebody may stand between this machine and the SSO. {BY_ITSELF}"
_DOWN = f"{BY_ITSELF} EVE's state: https://status.eveonline.com"


@dataclass(frozen=True, slots=True)
class SsoResponse:
    """An HTTP answer, read whole. `document` is the JSON object in it, None where it is anything else."""

    status: int
    document: Mapping[str, Any] | None = field(repr=False)
    retry_after: float | None

    @property
    def error(self) -> str:
        """The OAuth error code (RFC 6749, 5.2), empty where there is none; safe to show."""
        code = self.document.get("error") if self.document is not None else None
        if isinstance(code, str) and len(code) <= 40 and code.replace("_", "").isalnum() and code.isascii():
            return code
        return ""


class SsoHttp:
    """Requests with our User-Agent, without redirects: a token must go where it was sent, or nowhere."""

    def __init__(
        self, session: aiohttp.ClientSession, *, user_agent: str, clock: Clock, timeout: float
    ) -> None:
        self._session = session
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        self._clock = clock
        self.time = ServerTime(clock)
        """The SSO's clock, by which its tokens are judged."""
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=timeout / 2)

    async def get(self, url: str) -> SsoResponse:
        """GET, for metadata and keys."""
        return await self._request("GET", url, {}, None)

    async def post_form(self, url: str, headers: Mapping[str, str], body: str) -> SsoResponse:
        """POST a form that is encoded already."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._request("POST", url, {**headers, **form}, body.encode("ascii"))

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> SsoResponse:
        try:
            sent = self._clock.monotonic()
            async with self._session.request(
                method,
                url,
                data=body,
                headers={**self._headers, **headers},
                timeout=self._timeout,
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                date = parse_http_date(response.headers.get("Date", ""))
                if date is not None:
                    self.time.observe(date, sent, self._clock.monotonic())
                raw = await _bounded(response)
                return SsoResponse(response.status, _document(raw), self._retry_after(response))
        # Order matters: these two are subclasses of the broader ones below. Both mean that no
        # connection came about, so nothing can have been worked off.
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SsoUnavailable(
                f"the SSO at {_host(url)} cannot be reached ({type(error).__name__})", _DOWN, answered=True
            ) from None
        except TimeoutError:
            raise SsoUnavailable(
                f"the SSO at {_host(url)} did not answer in time", _DOWN, answered=False
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise SsoUnavailable(
                f"the SSO at {_host(url)} broke off ({type(error).__name__})", _DOWN, answered=False
            ) from None

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        """`Retry-After` (RFC 9110, 10.2.3): seconds or a date; at most an hour, garbage is ignored."""
        value = response.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdigit() and len(value) < 10:
            return min(float(value), _MAX_RETRY_AFTER)
        try:
            seconds = parsedate_to_datetime(value).timestamp() - self.time.not_after()
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, seconds), _MAX_RETRY_AFTER)


def refused(answer: SsoResponse, what: str) -> SsoUnavailable:
    """The error for an answer that is neither what was asked for nor `invalid_grant`."""
    if (remedy := _OF_THE_APPLICATION.get(answer.error)) is not None and 400 <= answer.status < 500:
        return SsoUnavailable(
            f"the SSO does not take this application ({answer.error}, HTTP {answer.status})",
            remedy,
            answered=True,
            retry_after=answer.retry_after,
        )
    said = f"{answer.error}, HTTP {answer.status}" if answer.error else f"HTTP {answer.status}"
    # 408 is the one client error that says nothing of what became of the request.
    outright = 300 <= answer.status < 500 and answer.status != 408
    return SsoUnavailable(
        f"the SSO gave no usable answer to {what} ({said})",
        _DOWN,
        answered=outright,
        retry_after=answer.retry_after,
        # A 400 with another OAuth error is about this one request; 429, 403 and 5xx about us all.
        everybody=not (answer.status == 400 and answer.error),
    )


def no_token(*, kept: bool) -> SsoUnavailable:
    """The error for a 200 in which there is no access token of EVE's.

    kept: a refresh token came with it, so that nothing is lost.
    """
    return SsoUnavailable(
        "the SSO gave an answer without a token that could be used (HTTP 200)", _NO_TOKEN, answered=kept
    )


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(16384):
        raw += chunk
        if len(raw) > MAX_BODY:
            return b""  # no answer of an SSO; closing the connection is cheaper than reading on
    return bytes(raw)


def _document(raw: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url
