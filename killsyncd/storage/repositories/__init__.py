"""Repositories, one file a noun: transactions over named queries, the same for both databases.

They fill the ports of sync, auth and service, and know their values.
"""
