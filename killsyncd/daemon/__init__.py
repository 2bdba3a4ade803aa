"""One process: who knows whom, what starts and stops when. Knows everybody but cli: it makes all adapters."""
