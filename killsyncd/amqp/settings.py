"""What configuration says of the broker."""

from __future__ import annotations

from dataclasses import dataclass

from killsyncd.config.secret import Secret

WITHOUT_BROKER = 10.0
"""Seconds without a broker after which jobs are claimed from the rows alone."""


@dataclass(frozen=True, slots=True)
class AmqpSettings:
    """Where the broker is, and how its queue is used.

    prefetch: jobs at once. password: apart from the url, so that nothing shows it. without_broker: seconds
    without a connection after which jobs are claimed from the rows alone. corporation_name: of the second
    queue.
    """

    url: str
    name: str
    prefetch: int
    password: Secret | None = None
    without_broker: float = WITHOUT_BROKER
    corporation_name: str = "esi_corporation_killmails_queue"
