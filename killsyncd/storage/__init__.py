"""The store: SQLite or PostgreSQL behind one set of transactions.

A transaction is a generator of statements (see `base`), written once for both
databases. The driver decides how it runs: in one hop of SQLite's thread, or
awaited statement by statement on PostgreSQL.
"""
