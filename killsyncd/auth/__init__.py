"""Logins and tokens: from the first login to a grant that is renewed for years.

Knows config and core; `sso` is EVE's SSO over HTTP, storage fills its ports.
"""
