"""The only way to ESI: `client` asks over HTTP and keeps ESI's rules; its rate limits are in `ratelimit`.

Knows core alone; storage fills its ports.
"""
