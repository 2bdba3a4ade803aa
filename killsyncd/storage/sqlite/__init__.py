"""The SQLite driver, and backups of its file. Knows `storage.transaction` and core."""
