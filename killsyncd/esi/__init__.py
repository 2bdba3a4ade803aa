"""The only way to ESI: a client over HTTP that keeps ESI's rules, and rate limits in `ratelimit`.

Knows core alone; storage fills its ports.
"""
