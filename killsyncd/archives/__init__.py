"""Public archives of killmails, read as streams: EVE Ref's days, zKillboard's days of ids and hashes.

For `killsyncd import`; a daemon reads none by itself. Knows core alone.
"""
