"""Names in filters: turned into ids, refused with the nearest, or waited for."""

from __future__ import annotations

from typing import Any

import pytest

from killsyncd.config import WebhookConfig, from_mapping
from killsyncd.core.errors import BadInput
from killsyncd.webhooks.names import NotYetKnown, resolve

KNOWN = {
    "regions": {"the forge": 10000002},
    "systems": {"jita": 30000142, "amarr": 30002187},
    "ship_types": {"rifter": 587},
    "ship_groups": {"frigate": 25},
    "pilots": {"jane doe": 90000001},
    "corporations": {"doe mining": 98000001},
}


class Names:
    """What the database knows."""

    def __init__(self, static: bool = True) -> None:
        self.static = static

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)

    async def has_static_data(self) -> bool:
        return self.static

    async def find(self, what: str, word: str) -> list[int]:
        known = KNOWN[what] if self.static or what in ("pilots", "corporations") else {}
        if word.isdigit():
            return [int(word)] if int(word) in known.values() else []
        return [known[word.lower()]] if word.lower() in known else []

    async def names_of(self, what: str) -> list[str]:
        return [each.title() for each in KNOWN[what]]


def config(**more: Any) -> WebhookConfig:
    document = {
        "sso": {"client_id": "x"},
        "esi": {"contact": "me@killsyncd.invalid"},
        "webhooks": [{"name": "a", "kind": "zkillboard", **more}],
    }
    return from_mapping(document).webhooks[0]


async def test_names_and_ids_are_the_same() -> None:
    found = await resolve(
        config(systems=["JITA", 30002187], regions=["The Forge"], pilots=["Jane Doe"]), Names()
    )
    assert found.ids == {
        "systems": {30000142, 30002187},
        "regions": {10000002},
        "pilots": {90000001},
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"systems": ["Jitta"]}, "no solar system is called 'Jitta'; did you mean 'Jita'?"),
        ({"regions": ["The Frog"]}, "no region is called 'The Frog'; did you mean 'The Forge'?"),
        ({"ship_groups": ["Frigat"]}, "did you mean 'Frigate'?"),
        ({"corporations": ["Zzz"]}, "no corporation is called 'Zzz'; give its id"),
        ({"systems": [5]}, "no solar system is called '5'"),
    ],
)
async def test_unknown_ones_are_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        await resolve(config(**table), Names())
    assert said in caught.value.message
    assert "reload it (SIGHUP)" in caught.value.hint


async def test_what_static_data_will_bring_is_waited_for() -> None:
    for table in ({"regions": ["The Forge"]}, {"security": ["high"]}):
        with pytest.raises(NotYetKnown):
            await resolve(config(**table), Names(static=False))
    with pytest.raises(NotYetKnown):
        await resolve(config(systems=["Jita"]), Names(static=False), static_comes=True)
    with pytest.raises(BadInput):
        await resolve(config(systems=["Jita"]), Names(static=False))
    found = await resolve(config(systems=[30000142]), Names(static=False), static_comes=True)
    assert found.ids == {"systems": {30000142}}
