"""The PostgreSQL driver. Knows `storage.transaction` and core."""
