"""The configuration: TOML and environment to frozen dataclasses, strictly.

`load` is for the program, `from_mapping` for the demo and tests,
`control_sockets` for `killsyncd ctl`, which must work without the right to read
the daemon's file. This package alone knows names of environment variables.
"""

from __future__ import annotations

from killsyncd.config.errors import ConfigMistakes, Mistake
from killsyncd.config.loader import from_mapping, load
from killsyncd.config.schema import (
    KILLMAIL_SCOPE,
    Api,
    Config,
    Control,
    Database,
    Esi,
    Log,
    Producer,
    Queue,
    Refresher,
    Security,
    Sso,
    host_of,
    is_loopback,
)
from killsyncd.config.secret import Secret, SecretFileRefused, open_to_others, read_secret_file
from killsyncd.config.sockets import SocketCandidate, control_sockets
from killsyncd.config.types import seconds_of

__all__ = [
    "KILLMAIL_SCOPE",
    "Api",
    "Config",
    "ConfigMistakes",
    "Control",
    "Database",
    "Esi",
    "Log",
    "Mistake",
    "Producer",
    "Queue",
    "Refresher",
    "Secret",
    "SecretFileRefused",
    "Security",
    "SocketCandidate",
    "Sso",
    "control_sockets",
    "from_mapping",
    "host_of",
    "is_loopback",
    "load",
    "open_to_others",
    "read_secret_file",
    "seconds_of",
]
