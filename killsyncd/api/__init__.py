"""HTTP on `api.listen`: GraphQL, the live feed, logins, the dashboard.

`server.ApiServer` is what the daemon makes. Knows service and what is below it; it sees the
store through the Protocols of `ports`.
"""
