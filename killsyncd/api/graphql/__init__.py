"""GraphQL over HTTP and WebSocket: schema, resolvers, loaders, the live feed.

The schema is in `schema/`, what reads its fields in `resolvers/`, its arguments become values in `inputs`.
`budget`, `cost`, `limits` and `turns` keep one query from taking the daemon away from all others. Knows
service, auth, http and core; reads the store through the Protocols of `api.ports`.
"""
