"""Repositories, one file a noun: transactions over named queries, the same for both databases.

They fill the ports (`ports.py`) of service and of the packages below it, and know their values.
"""
