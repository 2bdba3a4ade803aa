"""SIGHUP: the configuration is read again; what can change while the daemon runs does, the rest is named.

A file that does not hold changes nothing: the daemon goes on with what it has, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from killsyncd.config import Config
from killsyncd.config.configuration import SECTIONS, keys_of
from killsyncd.core import logging as logs
from killsyncd.core.errors import ConfigError
from killsyncd.core.logging import get_logger

Apply = Callable[[Config], None]

WEBHOOKS = "webhooks"
"""All tables `[[webhooks]]` together, among the names of keys."""

log = get_logger(__name__)


def apply_log(config: Config) -> None:
    """Level and format of the log."""
    logs.configure(config.log.level, config.log.format)


APPLIERS: Mapping[str, Apply] = {"log.level": apply_log, "log.format": apply_log}


class Reloader:
    """Reads the configuration again.

    load: as at the start; raises ConfigError. appliers: by `section.key`, what makes a new value count.
    """

    def __init__(
        self, config: Config, load: Callable[[], Config], appliers: Mapping[str, Apply] = APPLIERS
    ) -> None:
        self._running = config
        self._load = load
        self._appliers = appliers
        self._always: Sequence[Apply] = ()
        self._told: Callable[[ConfigError | None], None] = lambda error: None

    def reload(self) -> None:
        """Do it. Never raises: it is called by a signal."""
        try:
            wanted = self._load()
        except ConfigError as error:
            log.error(
                "the configuration was not reloaded; going on as before",
                reason=error.message,
                hint=error.hint,
            )
            self._told(error)
            return
        self._told(None)
        changed = [key for key in differing(self._running, wanted) if key in self._appliers]
        waiting = [key for key in differing(self._running, wanted) if key not in self._appliers]
        for apply in {self._appliers[key] for key in changed}:
            apply(wanted)
        for apply in self._always:
            apply(wanted)
        log.info("configuration reloaded", changed=" ".join(changed) or "nothing", source=wanted.source)
        if waiting:
            log.warning("some changes need a restart", keys=" ".join(waiting))
        # What needs a restart goes on being compared with what runs: the next reload says it again.
        self._running = _with(self._running, wanted, changed)

    def knows(
        self,
        appliers: Mapping[str, Apply],
        always: Sequence[Apply] = (),
        told: Callable[[ConfigError | None], None] = lambda error: None,
    ) -> None:
        """More keys that can change: those of parts that are running by now.

        always: what is done at each reload, for files that are read again. told: called at each with what
        does not hold, or None.
        """
        self._told = told
        self._always = always
        self._appliers = {**self._appliers, **appliers}


def differing(running: Config, wanted: Config) -> list[str]:
    """Keys, as `section.key` (or `webhooks`), whose value or whose file's content is another one."""
    found = []
    for section in SECTIONS:
        ours, theirs = getattr(running, section), getattr(wanted, section)
        for key, about in keys_of(section).items():
            if getattr(ours, key) != getattr(theirs, key) or (
                about.fills and getattr(ours, about.fills) != getattr(theirs, about.fills)
            ):
                found.append(f"{section}.{key}")
    if running.webhooks != wanted.webhooks:
        found.append(WEBHOOKS)
    return found


def _with(running: Config, wanted: Config, changed: Sequence[str]) -> Config:
    """What runs now: the keys that were applied, and only they."""
    for name in changed:
        if name == WEBHOOKS:
            running = replace(running, webhooks=wanted.webhooks)
            continue
        section, _, key = name.partition(".")
        part = replace(getattr(running, section), **{key: getattr(getattr(wanted, section), key)})
        running = replace(running, **{section: part})
    return running
