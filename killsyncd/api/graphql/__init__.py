"""GraphQL over HTTP and WebSocket: schema, resolvers, loaders, the live feed."""
