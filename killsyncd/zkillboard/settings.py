"""What configuration says of zKillboard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ZkillboardSettings:
    """api_url: of the lists, stream_url: of R2Z2. stream: whether the live stream is read, too. corporations:
    whether our corporations are asked for beside our pilots. user_agent: with a way to reach the operator."""

    api_url: str
    stream_url: str
    user_agent: str
    stream: bool = True
    corporations: bool = False
