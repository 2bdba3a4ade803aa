"""Webhooks: stored killmails are brought to Discord, to receivers of signed JSON, and to zKillboard.

Each webhook is a durable cursor over the feed. `deliverer` goes along it, one killmail after the other:
filter, wait for names and value, build, send, write down; `manager` runs one deliverer a webhook. `filters`,
`embed`, `text`, `signing` and `answers` are pure. Knows config and core; storage fills its ports.
"""
