"""The simulated SSO over real sockets, driven as a browser and an application would."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from killsyncd.simulator import CLIENT_ID, CORPORATION_SCOPE, KILLMAIL_SCOPE, Simulator, SimulatorConfig
from tests.support.simulator_caller import CALLBACK, VERIFIER, Caller, FakeClock, rules, sent_back


@asynccontextmanager
async def sso(**options: Any) -> AsyncIterator[tuple[Simulator, Caller, int]]:
    options = {"pilots": 3, "history": 2, **options}
    simulator = Simulator(SimulatorConfig(**options), FakeClock())
    async with simulator, Caller(simulator) as caller:
        yield simulator, caller, simulator.pilots()[0]["character_id"]


async def claims(caller: Caller, token: str) -> Any:
    keys = (await caller.ask("/oauth/jwks")).json()
    return jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"]).claims


def refreshing(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token, "client_id": CLIENT_ID}


class TestLogin:
    async def test_metadata_leads_to_everything(self) -> None:
        async with sso() as (sim, caller, _):
            found = (await caller.ask("/.well-known/oauth-authorization-server")).json()
            assert found["issuer"] == sim.base_url
            assert found["code_challenge_methods_supported"] == ["S256"]
            assert (await caller.ask(found["jwks_uri"])).status == 200
            for name in ("authorization_endpoint", "token_endpoint", "revocation_endpoint"):
                assert found[name].startswith(sim.base_url)

    async def test_a_pilot_logs_in(self) -> None:
        async with sso() as (sim, caller, character):
            answer = await caller.login(CLIENT_ID, character)
            assert answer["token_type"] == "Bearer"
            assert answer["expires_in"] == 1200
            found = await claims(caller, answer["access_token"])
            assert found["sub"] == f"CHARACTER:EVE:{character}"
            assert found["name"] == sim.pilots()[0]["name"]
            assert found["aud"] == [CLIENT_ID, "EVE Online"]
            assert found["azp"] == CLIENT_ID
            assert found["iss"] == sim.base_url
            assert found["scp"] == KILLMAIL_SCOPE
            assert found["exp"] - found["iat"] == 1200
            assert (await caller.list(character, answer["access_token"])).status == 200
            assert rules(sim) == []

    async def test_several_scopes_are_a_list_and_none_is_no_claim(self) -> None:
        async with sso() as (_, caller, character):
            scopes = f"{KILLMAIL_SCOPE} {CORPORATION_SCOPE}"
            both = await caller.login(CLIENT_ID, character, scope=scopes)
            assert (await claims(caller, both["access_token"]))["scp"] == scopes.split()
            less = await caller.login(CLIENT_ID, character, scope=scopes, _sim_scopes=CORPORATION_SCOPE)
            assert (await claims(caller, less["access_token"]))["scp"] == CORPORATION_SCOPE
            none = await caller.login(CLIENT_ID, character, scope=None)
            assert "scp" not in await claims(caller, none["access_token"])

    async def test_the_issuer_can_be_eves(self) -> None:
        async with sso(issuer="login.eveonline.com") as (_, caller, character):
            token = (await caller.login(CLIENT_ID, character))["access_token"]
            assert (await claims(caller, token))["iss"] == "login.eveonline.com"

    async def test_the_page_shows_pilots_as_buttons(self) -> None:
        async with sso() as (sim, caller, _):
            page = (await caller.authorize(CLIENT_ID)).body.decode()
            for pilot in sim.pilots():
                assert f'name="_sim_character" value="{pilot["character_id"]}"' in page
                assert pilot["name"] in page
            assert '<input type="hidden" name="state" value="s-1">' in page

    async def test_many_pilots_can_be_searched(self) -> None:
        async with sso(pilots=150, history=0) as (sim, caller, _):
            last = sim.pilots()[-1]
            page = (await caller.authorize(CLIENT_ID)).body.decode()
            assert page.count('name="_sim_character"') == 100
            found = (await caller.authorize(CLIENT_ID, _sim_search=last["name"].upper())).body.decode()
            assert str(last["character_id"]) in found

    async def test_refusing_goes_back_with_an_error(self) -> None:
        async with sso() as (_, caller, _character):
            back = sent_back(await caller.authorize(CLIENT_ID, _sim_deny="1"))
            assert back["error"] == "access_denied"
            assert back["state"] == "s-1"

    async def test_auto_approve_takes_the_pilots_in_turn(self) -> None:
        async with sso(auto_approve=True) as (sim, caller, _):
            for pilot in [*sim.pilots(), sim.pilots()[0]]:
                code = sent_back(await caller.authorize(CLIENT_ID))["code"]
                answer = await caller.token(
                    {
                        "grant_type": "authorization_code",
                        "client_id": CLIENT_ID,
                        "code": code,
                        "code_verifier": VERIFIER,
                    }
                )
                token = answer.json()["access_token"]
                assert (await claims(caller, token))["name"] == pilot["name"]

    async def test_a_callback_with_a_query_keeps_it(self) -> None:
        async with sso() as (_, caller, character):
            back = sent_back(
                await caller.authorize(
                    CLIENT_ID, _sim_character=str(character), redirect_uri=f"{CALLBACK}?a=b"
                )
            )
            assert back["a"] == "b"
            assert "code" in back


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "rule"),
        [
            ({"client_id": "unknown"}, None),
            ({"redirect_uri": "http://elsewhere/"}, "redirect_mismatch"),
            ({"redirect_uri": None}, "redirect_mismatch"),
            ({"_sim_character": "1"}, None),
        ],
    )
    async def test_who_is_not_known_is_not_sent_anywhere(
        self, changes: dict[str, str], rule: str | None
    ) -> None:
        async with sso(redirect_uris=(CALLBACK,)) as (sim, caller, _):
            answer = await caller.authorize(**{"client_id": CLIENT_ID, **changes})
            assert answer.status == 400
            assert rules(sim) == ([rule] if rule else [])

    @pytest.mark.parametrize(
        ("changes", "error", "rule"),
        [
            ({"code_challenge": None}, "invalid_request", "pkce_missing"),
            ({"code_challenge_method": "plain"}, "invalid_request", "pkce_missing"),
            ({"response_type": "token"}, "unsupported_response_type", None),
        ],
    )
    async def test_bad_requests_go_back(self, changes: dict[str, str], error: str, rule: str | None) -> None:
        async with sso() as (sim, caller, _):
            assert sent_back(await caller.authorize(CLIENT_ID, **changes))["error"] == error
            assert rules(sim) == ([rule] if rule else [])

    async def test_a_login_without_state_is_written_down(self) -> None:
        async with sso() as (sim, caller, character):
            await caller.login(CLIENT_ID, character, state=None)
            assert rules(sim) == ["state_missing"]

    @pytest.mark.parametrize(
        ("changes", "error", "rule"),
        [
            ({"code": "unknown"}, "invalid_grant", None),
            ({"code_verifier": "wrong"}, "invalid_grant", "pkce_wrong"),
            ({"code_verifier": None}, "invalid_grant", "pkce_missing"),
            ({"redirect_uri": "http://elsewhere/"}, "invalid_grant", "redirect_mismatch"),
            ({"grant_type": "password"}, "unsupported_grant_type", None),
            ({"client_id": "unknown"}, "invalid_client", None),
        ],
    )
    async def test_what_the_token_endpoint_refuses(
        self, changes: dict[str, str | None], error: str, rule: str | None
    ) -> None:
        async with sso() as (sim, caller, character):
            code = sent_back(await caller.authorize(CLIENT_ID, _sim_character=str(character)))["code"]
            form = {
                "grant_type": "authorization_code",
                "client_id": CLIENT_ID,
                "code": code,
                "code_verifier": VERIFIER,
                **changes,
            }
            answer = await caller.token({key: value for key, value in form.items() if value is not None})
            assert answer.json()["error"] == error
            assert answer.status == (401 if error == "invalid_client" else 400)
            assert rules(sim) == ([rule] if rule else [])

    async def test_a_code_is_good_once_and_for_five_minutes(self) -> None:
        async with sso() as (sim, caller, character):
            form = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "code_verifier": VERIFIER}
            for advance, status in ((0, 200), (301, 400)):
                code = sent_back(await caller.authorize(CLIENT_ID, _sim_character=str(character)))["code"]
                sim.set_time(advance=advance)
                assert (await caller.token({**form, "code": code})).status == status
                assert (await caller.token({**form, "code": code})).json()["error"] == "invalid_grant"
            assert rules(sim) == ["code_reused", "code_reused"]

    async def test_a_confidential_client_shows_its_secret(self) -> None:
        async with sso(client_secret="s:e/c") as (sim, caller, character):
            refresh = sim.grant(character)["refresh_token"]
            form = {"grant_type": "refresh_token", "refresh_token": refresh}
            assert (await caller.token({**form, "client_id": CLIENT_ID})).status == 401
            for secret, status in (("wrong", 401), ("s%3Ae%2Fc", 200)):
                basic = base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
                answer = await caller.token(form, headers={"Authorization": f"Basic {basic}"})
                assert answer.status == status
                assert ("WWW-Authenticate" in answer.headers) == (status == 401)


class TestRefreshing:
    async def test_rotation_always(self) -> None:
        async with sso() as (sim, caller, character):
            old = sim.grant(character)["refresh_token"]
            new = (await caller.token(refreshing(old))).json()["refresh_token"]
            assert new != old
            again = await caller.token(refreshing(old))
            assert again.status == 400
            assert again.json()["error"] == "invalid_grant"
            assert rules(sim) == ["refresh_token_reused"]
            assert (await caller.token(refreshing(new))).status == 200
            assert sim.counters()["refreshes"] == {str(character): 2}

    async def test_rotation_never(self) -> None:
        async with sso(rotation="never") as (sim, caller, character):
            token = sim.grant(character)["refresh_token"]
            for _ in range(2):
                assert (await caller.token(refreshing(token))).json()["refresh_token"] == token
            assert rules(sim) == []

    async def test_rotation_with_grace(self) -> None:
        async with sso(rotation_grace=10) as (sim, caller, character):
            old = sim.grant(character)["refresh_token"]
            await caller.token(refreshing(old))
            sim.set_time(advance=9)
            assert (await caller.token(refreshing(old))).status == 200
            sim.set_time(advance=10)
            assert (await caller.token(refreshing(old))).status == 400

    async def test_revoked_by_the_pilot_or_the_application(self) -> None:
        async with sso() as (sim, caller, character):
            one, two = (sim.grant(character)["refresh_token"] for _ in range(2))
            gone = await caller.ask("/v2/oauth/revoke", "POST", data={"token": one, "client_id": CLIENT_ID})
            assert gone.status == 200
            assert (await caller.token(refreshing(one))).json()["error"] == "invalid_grant"
            assert sim.revoke(character) == 1
            assert (await caller.token(refreshing(two))).json()["error"] == "invalid_grant"
            assert rules(sim) == []

    async def test_a_sold_character_has_another_owner(self) -> None:
        async with sso() as (sim, caller, character):
            tokens = sim.grant(character)
            before = (await claims(caller, tokens["access_token"]))["owner"]
            sold = sim.sell(character)
            refreshed = (await caller.token(refreshing(tokens["refresh_token"]))).json()
            assert (await claims(caller, refreshed["access_token"]))["owner"] == sold != before

    async def test_a_removed_pilot_is_refused(self) -> None:
        async with sso() as (sim, caller, character):
            token = sim.grant(character)["refresh_token"]
            sim.remove_pilot(character)
            assert (await caller.token(refreshing(token))).json()["error"] == "invalid_grant"

    async def test_two_at_once_are_written_down(self) -> None:
        async with sso(latency=0.2, rotation="never") as (sim, caller, character):
            token = sim.grant(character)["refresh_token"]
            other = sim.grant(sim.pilots()[1]["character_id"])["refresh_token"]
            await asyncio.gather(caller.token(refreshing(token)), caller.token(refreshing(other)))
            assert rules(sim) == []
            await asyncio.gather(caller.token(refreshing(token)), caller.token(refreshing(token)))
            assert rules(sim) == ["concurrent_refresh"]

    async def test_new_keys_sign_new_tokens(self) -> None:
        async with sso() as (sim, caller, character):
            old = sim.grant(character)["access_token"]
            sim.rotate_keys()
            new = sim.grant(character)["access_token"]
            for token in (old, new):
                assert (await caller.list(character, token)).status == 200
            sim.rotate_keys(keep_old=False)
            assert (await caller.list(character, new)).status == 401

    async def test_an_answer_that_was_lost_excuses_the_old_token(self) -> None:
        async with sso() as (sim, caller, character):
            old = sim.grant(character)["refresh_token"]
            sim.script("html", "sso.token", status=502, processed=True, count=1)
            assert (await caller.token(refreshing(old))).status == 502
            assert (await caller.token(refreshing(old))).json()["error"] == "invalid_grant"
            assert rules(sim) == []

    @pytest.mark.parametrize("code", ["invalid_client", "temporarily_unavailable"])
    async def test_scripted_oauth_errors(self, code: str) -> None:
        async with sso() as (sim, caller, character):
            token = sim.grant(character)["refresh_token"]
            sim.script("oauth", "sso.token", body=code, character=character, count=1)
            assert (await caller.token(refreshing(token))).json()["error"] == code
            assert (await caller.token(refreshing(token))).status == 200
