"""HTTP on `api.listen`: GraphQL, the live feed, logins, the dashboard.

`server.ApiServer` is what the daemon makes. Knows service and what is below it, and `http`; it sees the
store through the Protocols of `ports`.
"""
