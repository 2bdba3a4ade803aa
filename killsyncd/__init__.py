"""killsyncd brings EVE Online killmails home."""

__version__ = "0.1.0"


def user_agent(contact: str) -> str:
    """How every request to CCP introduces itself: application, version, and how to reach the operator."""
    return f"killsyncd/{__version__} ({contact}; +https://github.com/killsyncd/killsyncd)"
