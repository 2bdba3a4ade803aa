"""Prices by the day, and what a killmail was worth by them. Knows esi, config and core."""
