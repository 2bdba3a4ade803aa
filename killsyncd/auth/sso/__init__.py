"""EVE's single sign-on: OAuth 2 authorization code with PKCE, refresh, revocation, verification.

Knows core, and the values of `auth.grant`; refresh tokens leave the daemon through here alone.
"""

from killsyncd.auth.grant import Identity, LoginAttempt, SsoUnavailable, TokenSet
from killsyncd.auth.sso.client import SsoClient

__all__ = ["Identity", "LoginAttempt", "SsoClient", "SsoUnavailable", "TokenSet"]
