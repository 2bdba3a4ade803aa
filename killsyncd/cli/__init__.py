"""What people type: one module a command.

Importing this package costs nothing; a command imports what it needs inside its functions. May know
everybody, and nobody knows it.
"""
