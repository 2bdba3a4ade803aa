"""ESI's rate limits: windows as arithmetic, accounting over them, permits to send. Knows core alone."""
