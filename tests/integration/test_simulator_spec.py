"""Everything that the simulator answers fits ESI's own specification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from killsyncd.simulator import CORPORATION_SCOPE, KILLMAIL_SCOPE, ROLES_SCOPE, Simulator, SimulatorConfig
from tests.support.simulator_caller import SHARED, Caller, ReceivedResponse

SPEC = SHARED / "esi/openapi-subset.json"
REAL = SHARED / "killmails/killmails.jsonl"

pytestmark = pytest.mark.skipif(not SPEC.exists(), reason="ESI's specification is not beside the project")
jsonschema = pytest.importorskip("jsonschema")


class Specification:
    """Checks answers against the file; its schemas are JSON Schema 2020-12, as OpenAPI 3.1 has it."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = orjson.loads(SPEC.read_bytes())

    def check(self, template: str, answer: ReceivedResponse, method: str = "get") -> None:
        operation = self.document["paths"][template][method]
        response = operation["responses"].get(str(answer.status), operation["responses"]["default"])
        schema = {
            **response["content"]["application/json"]["schema"],
            "components": self.document["components"],
        }
        jsonschema.Draft202012Validator(schema).validate(orjson.loads(answer.body))
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status == 200:
            for name, header in response.get("headers", {}).items():
                if name != "Content-Language":
                    assert name in answer.headers, f"{template} lacks {name}"
                if header.get("schema", {}).get("type") == "integer":
                    int(answer.headers[name])
        limit = operation.get("x-rate-limit")
        if limit is not None:
            assert answer.headers["X-Ratelimit-Group"] == limit["group"]
            assert answer.headers["X-Ratelimit-Limit"] == f"{limit['max-tokens']}/{limit['window-size']}"
        else:
            assert "X-ESI-Error-Limit-Remain" in answer.headers
        if answer.status == 200 and "x-client-cache-ttl" in operation:
            assert "Expires" in answer.headers, template


@pytest.fixture(scope="module")
def spec() -> Specification:
    return Specification()


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    real = REAL if REAL.exists() else None
    async with Simulator(SimulatorConfig(pilots=12, history=60, killmails=real)) as simulator:
        yield simulator


@pytest.fixture
async def caller(sim: Simulator) -> AsyncIterator[Caller]:
    async with Caller(sim) as polite:
        yield polite


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("/status", {}),
        ("/markets/prices", {}),
        ("/meta/status", {}),
        ("/meta/compatibility-dates", {}),
        ("/universe/types/{type_id}", {"type_id": 587}),
        ("/universe/types/{type_id}", {"type_id": 1}),
        ("/universe/groups/{group_id}", {"group_id": 25}),
        ("/universe/groups/{group_id}", {"group_id": 1}),
        ("/universe/systems/{system_id}", {"system_id": 30000142}),
        ("/universe/systems/{system_id}", {"system_id": 1}),
        ("/wars/{war_id}/killmails", {"war_id": 700_000}),
    ],
)
async def test_open_routes(
    spec: Specification, caller: Caller, template: str, values: dict[str, int]
) -> None:
    spec.check(template, await caller.ask(template.format(**values)))


async def test_pilots_and_corporations(spec: Specification, sim: Simulator, caller: Caller) -> None:
    for pilot in sim.pilots():
        for key, template in (
            ("character_id", "/characters/{character_id}"),
            ("corporation_id", "/corporations/{corporation_id}"),
        ):
            spec.check(template, await caller.ask(template.format(**{key: pilot[key]})))
        token = sim.grant(pilot["character_id"], [KILLMAIL_SCOPE, CORPORATION_SCOPE, ROLES_SCOPE])[
            "access_token"
        ]
        for template in (
            "/characters/{character_id}/killmails/recent",
            "/characters/{character_id}/roles",
            "/corporations/{corporation_id}/killmails/recent",
        ):
            path = template.format(**pilot)
            spec.check(template, await caller.ask(path, headers={"Authorization": f"Bearer {token}"}))


async def test_every_killmail(spec: Specification, sim: Simulator, caller: Caller) -> None:
    for ref in sim.mails():
        spec.check("/killmails/{killmail_id}/{killmail_hash}", await caller.detail(ref))


async def test_refusals(spec: Specification, sim: Simulator, caller: Caller) -> None:
    listing = "/characters/{character_id}/killmails/recent"
    spec.check(listing, await caller.ask(listing.format(character_id=1)))
    ref = {**sim.mails()[0], "killmail_hash": "0"}
    spec.check("/killmails/{killmail_id}/{killmail_hash}", await caller.detail(ref))
    spec.check("/universe/names", await caller.ask("/universe/names", "POST", json=[2**40]), "post")


async def test_names_and_affiliations(spec: Specification, sim: Simulator, caller: Caller) -> None:
    characters = [pilot["character_id"] for pilot in sim.pilots()]
    ids: set[int] = set()
    for ref in sim.mails()[:60]:
        mail = sim.mail(ref["killmail_id"])
        for row in (mail["victim"], *mail["attackers"]):
            ids |= {value for key, value in row.items() if key.endswith("_id")}
    answer = await caller.ask(
        "/universe/names", "POST", json=[*characters, *sorted(ids - set(characters))][:1000]
    )
    assert answer.status == 200
    spec.check("/universe/names", answer, "post")
    answer = await caller.ask("/characters/affiliation", "POST", json=characters)
    assert len(answer.json()) == len(characters)
    spec.check("/characters/affiliation", answer, "post")
