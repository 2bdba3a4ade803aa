"""What zKillboard, a third party, knows of our pilots' fights: its lists page by page, then its live stream.

Ids and hashes alone are taken from it; the killmails come from ESI, through the ledger. Only where
`[zkillboard] enabled` says so. Knows core alone; storage fills its ports, and the daemon has it tell the
fetcher what was listed.
"""
