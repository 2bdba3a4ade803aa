"""Logins and tokens: from the first login to a grant that is renewed for years. Knows core; `sso` is EVE's SSO over HTTP."""
