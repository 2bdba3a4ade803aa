"""`killsyncd check`: can every line of the operator's own prices be read."""

from __future__ import annotations

from killsyncd.cli.checking import Finding, failed
from killsyncd.config import Config
from killsyncd.core.errors import BadInput
from killsyncd.core.text import count


def overrides(config: Config) -> Finding | None:
    """A line about `[prices] overrides_file`; None where there is none."""
    path = config.prices.overrides_file
    if path is None:
        return None
    from killsyncd.pricing.overrides import read_overrides

    try:
        read = read_overrides(path)
    except BadInput as error:
        return failed("prices", error)
    if read.bad:
        return Finding("prices", "warn", f"{path}: {read.told()}", "correct these lines; the others count")
    return Finding("prices", "ok", f"{path}: prices of {count(len(read.prices), 'type')}")
