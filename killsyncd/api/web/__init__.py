"""Pages for people: the dashboard, the explorer, logins in a browser."""
