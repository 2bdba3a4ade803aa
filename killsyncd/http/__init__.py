"""Connections of our HTTP servers: how many there may be, how long they may take, what is logged of them.

It knows aiohttp and `core`; the API and the control socket are served through it.
"""
