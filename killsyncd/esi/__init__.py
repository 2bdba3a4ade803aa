"""ESI: one door (door.py) over HTTP (wire.py). Nothing else in this package asks ESI."""
