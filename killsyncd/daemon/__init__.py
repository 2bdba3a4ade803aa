"""One process: who knows whom, what starts and stops when. The only package that knows all adapters."""
