"""RabbitMQ as a transport of wake-ups over the queue's rows.

A sync request is a row in the database; a message wakes a consumer for it.
Messages may get lost, doubled or come late without harm: the rows decide.
The format is that of killreport, whose messages and workers still fit.

Knows sync's ports, config and core; its rows come through a port that storage fills.
"""

from killsyncd.amqp.broker import AmqpQueue, BrokerFacts, fault_of
from killsyncd.amqp.settings import AmqpSettings

__all__ = ["AmqpQueue", "AmqpSettings", "BrokerFacts", "fault_of"]
