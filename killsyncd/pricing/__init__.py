"""Prices by the day, and what a killmail was worth by them. Knows esi and core; storage fills its ports."""
