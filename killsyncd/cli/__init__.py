"""What people type: one module a command. Importing this package costs nothing; it may know everything below."""
