"""The configuration: TOML and environment to frozen dataclasses, strictly.

`load` is for the program, `from_mapping` for the demo and tests,
`control_sockets` for `killsyncd ctl`, which must work without the right to read
the daemon's file. This package alone knows names of environment variables. Knows core.
"""

from __future__ import annotations

from killsyncd.config.address_types import host_of, is_loopback
from killsyncd.config.configuration import Config
from killsyncd.config.errors import ConfigMistake, ConfigMistakes
from killsyncd.config.loader import from_mapping, load
from killsyncd.config.schema import (
    KILLMAIL_SCOPE,
    ApiConfig,
    ControlConfig,
    DatabaseConfig,
    EsiConfig,
    LogConfig,
    ProducerConfig,
    QueueConfig,
    RefresherConfig,
    SecurityConfig,
    SsoConfig,
)
from killsyncd.config.secret import Secret, SecretFileRefused, open_to_others, read_secret_file
from killsyncd.config.sockets import SocketCandidate, control_sockets
from killsyncd.config.types import seconds_of
from killsyncd.config.webhooks import WebhookConfig

__all__ = [
    "KILLMAIL_SCOPE",
    "ApiConfig",
    "Config",
    "ConfigMistake",
    "ConfigMistakes",
    "ControlConfig",
    "DatabaseConfig",
    "EsiConfig",
    "LogConfig",
    "ProducerConfig",
    "QueueConfig",
    "RefresherConfig",
    "Secret",
    "SecretFileRefused",
    "SecurityConfig",
    "SocketCandidate",
    "SsoConfig",
    "WebhookConfig",
    "control_sockets",
    "from_mapping",
    "host_of",
    "is_loopback",
    "load",
    "open_to_others",
    "read_secret_file",
    "seconds_of",
]
