"""How each field of the schema is read: a module a subject, each with its file or part in `schema/`.

Knows what `api.graphql` knows.
"""

from killsyncd.api.graphql.resolvers import (
    killmails,
    queueing,
    sources,
    statistics,
    status,
    users,
    values,
    webhooks,
)
from killsyncd.api.graphql.resolvers.roots import mutation, query, subscription

BINDABLES = [
    query,
    mutation,
    subscription,
    *status.BINDABLES,
    *users.BINDABLES,
    *queueing.BINDABLES,
    *sources.BINDABLES,
    *killmails.BINDABLES,
    *webhooks.BINDABLES,
    *values.BINDABLES,
    *statistics.BINDABLES,
]
