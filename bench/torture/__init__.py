"""`make torture`: the hard ways in which a daemon, its disk, its clock and its other sides fail, as a table.

Each row provokes one fault many times against a real daemon and the simulator, and counts: what was tried,
what was lost, what came twice, what was asked too early by EVE's own count, and how long it took until all
was well again.
"""
