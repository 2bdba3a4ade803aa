"""Prices by the day, and what a killmail was worth by them.

`esi_prices` and `history` fetch prices, `overrides` reads the operator's own; `book` finds a type's price on
a day, `valuation` has the rules (pure), and `valuer` applies them to every stored killmail. Knows esi and
core; storage fills its ports.
"""
