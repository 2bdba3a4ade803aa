"""A webhook's filter with its names turned into ids, or what is said of a name that nobody knows."""

from __future__ import annotations

import difflib

from killsyncd.config import WebhookConfig
from killsyncd.core.errors import BadInput, Unavailable
from killsyncd.webhooks.filters import NAMED, STATIC, WebhookFilter
from killsyncd.webhooks.ports import WebhookMails

_WORDS = {
    "pilots": "pilot",
    "corporations": "corporation",
    "systems": "solar system",
    "regions": "region",
    "ship_types": "ship type",
    "ship_groups": "ship group",
}


class NotYetKnown(Unavailable):
    """The static data that a filter needs has not come yet."""


_LATER = frozenset({"systems", "regions", "ship_types", "ship_groups"})
"""Conditions whose names come with the static data."""


async def resolve(config: WebhookConfig, mails: WebhookMails, *, static_comes: bool = False) -> WebhookFilter:
    """The filter. static_comes: static data are switched on, so that those not there yet will come.

    Raises BadInput for a name that nobody knows, with the nearest one; NotYetKnown while static data that
    would know it has still to come; Unavailable.
    """
    static = await mails.has_static_data()
    if config.needs_static_data and not static:
        raise _not_yet()
    ids: dict[str, frozenset[int]] = {}
    for name in NAMED:
        found: set[int] = set()
        for word in getattr(config, name):
            some = await mails.find(name, word)
            if not some:
                # Ids are taken as they are where nothing could know them.
                if word.isascii() and word.isdigit() and not static and name not in STATIC:
                    some = [int(word)]
                elif static_comes and not static and name in _LATER:
                    raise _not_yet()
                else:
                    raise await _unknown(config, name, word, mails)
            found.update(some)
        if found:
            ids[name] = frozenset(found)
    return WebhookFilter(config, ids)


def _not_yet() -> NotYetKnown:
    return NotYetKnown(
        "waits for static data: names of places and ships, classes of space and ship groups come with it",
        "nothing to do if [static_data] enabled = true: killsyncd ctl status shows how it goes",
    )


async def _unknown(config: WebhookConfig, name: str, word: str, mails: WebhookMails) -> BadInput:
    known = await mails.names_of(name)
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    guess = f"did you mean {lowered[near[0]]!r}?" if near else "give its id"
    return BadInput(
        f"{name} of [[webhooks]] {config.name}: no {_WORDS[name]} is called {word!r}; {guess}",
        "put the name right, or give the id, in the configuration; then reload it (SIGHUP)",
    )
