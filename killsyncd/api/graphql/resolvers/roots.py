"""The three types that every operation begins with. Each module of this package adds its fields to them."""

from __future__ import annotations

from ariadne import MutationType, QueryType, SubscriptionType

query = QueryType()
mutation = MutationType()
subscription = SubscriptionType()
