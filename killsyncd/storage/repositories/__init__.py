"""Repositories, one file a noun: transactions over named queries, the same for both databases.

They fill the ports (`ports.py`) of service and of the packages below it, and know their values.
`search` reads lists of killmails: `filtering` takes a filter apart, `driving` chooses the index,
`mail_lists` writes the SQL.
"""
