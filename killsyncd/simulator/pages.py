"""The few pages that a person sees in a browser: pick a pilot, refusals, what this place is."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from .answer import Response
from .world import World

SHOWN = 100
HTML = "text/html; charset=utf-8"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;background:#0b0f14;color:#d6dde6;max-width:44rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.4rem}a,button{color:#7fc8ff}code{background:#16202b;padding:.1rem .3rem;border-radius:3px}
button{font:inherit;background:#16202b;border:1px solid #2b3a4a;border-radius:6px;padding:.5rem .8rem;
cursor:pointer;width:100%;text-align:left}button:hover,button:focus{border-color:#7fc8ff}
ul{list-style:none;padding:0}li{margin:.4rem 0}
small{color:#8b98a7}input[type=search]{font:inherit;padding:.4rem;width:60%}
"""


def _page(title: str, body: str, status: int = 200) -> Response:
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return Response(status, text.encode(), {"Cache-Control": "no-store"}, HTML)


def refusal_page(title: str, reason: str) -> Response:
    """A 400 that stays here, as nobody safe to redirect to is known."""
    return _page(title, f"<p>{escape(reason)}</p>", 400)


def index_page(base_url: str) -> Response:
    """What somebody sees who opens the simulator's address."""
    return _page(
        "EVE Online, simulated",
        "<p>This is a simulator of EVE's SSO and ESI. Nothing here is real; no account is needed.</p>"
        f"<ul><li>SSO: <code>{escape(base_url)}</code> "
        "(<a href='/.well-known/oauth-authorization-server'>metadata</a>)</li>"
        f"<li>ESI: <code>{escape(base_url)}</code> (<a href='/status'>status</a>)</li>"
        "<li>Levers: <a href='/_sim/'>/_sim/</a> (JSON)</li></ul>",
    )


def authorize_page(
    world: World, query: Mapping[str, str], client_id: str, scopes: tuple[str, ...]
) -> Response:
    """Pick a pilot: each a button that sends the browser back with a code."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(key)}" value="{escape(value)}">'
        for key, value in query.items()
        if not key.startswith("_sim_")
    )
    wanted = query.get("_sim_search", "").casefold()
    fitting = [pilot for pilot in world.pilots.values() if wanted in pilot.name.casefold()]
    rows = "".join(
        f'<li><button name="_sim_character" value="{pilot.character_id}">{escape(pilot.name)} '
        f"<small>{escape(world.corporations[pilot.corporation_id].name)}"
        f"{', Director' if pilot.director else ''} · {len(pilot.mails)} killmails</small></button></li>"
        for pilot in fitting[:SHOWN]
    )
    search = ""
    if len(world.pilots) > SHOWN:
        search = (
            f'<form method="get">{hidden}<p><input type="search" name="_sim_search" placeholder="pilot" '
            f'value="{escape(wanted)}"> {len(fitting)} of {len(world.pilots)} pilots</p></form>'
        )
    asked = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes) or "<li>nothing</li>"
    return _page(
        "Who are you? (simulated EVE login)",
        f"<p>The application <code>{escape(client_id)}</code> asks for:</p><ul>{asked}</ul>{search}"
        f'<form method="get">{hidden}<ul>{rows}'
        '<li><button name="_sim_deny" value="1">None of them: refuse</button></li></ul></form>',
    )
