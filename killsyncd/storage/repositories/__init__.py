"""Repositories, one file a noun: transactions over named queries, the same for both databases."""
