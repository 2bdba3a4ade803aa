"""HTTP on `api.listen`: GraphQL, the live feed, logins, the dashboard.

`server.ApiServer` is what the daemon makes. It sees the store and the operations
through the Protocols of `ports`.
"""
