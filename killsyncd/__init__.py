"""killsyncd brings EVE Online killmails home."""

__version__ = "0.1.0"
