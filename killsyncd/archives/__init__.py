"""Public archives of killmails, read as streams: EVE Ref's days, zKillboard's days of ids and hashes.

`killsyncd import` reads them, through `cli/history.py`; a daemon reads none by itself. Knows core alone.
"""
