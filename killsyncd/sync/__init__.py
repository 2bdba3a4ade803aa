"""The pipeline that brings killmails home: producer, consumer, fetcher, and what they are made of.

Knows auth, esi and core; storage and amqp fill its ports.
"""
