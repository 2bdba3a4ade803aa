"""The store: SQLite or PostgreSQL behind one set of transactions.

A transaction is a generator of statements (see `transaction`), written once for both
databases. The driver decides how it runs: in one hop of SQLite's thread, or
awaited statement by statement on PostgreSQL.

Fills the ports of service and of everything below it, whose values it knows; knows no other adapter.
"""
