"""Pages for people: the dashboard, the GraphQL explorer, logins in a browser. Knows service, auth, config
and core."""
