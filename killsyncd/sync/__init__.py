"""The pipeline that brings killmails home.

The producer asks for syncs, the consumer reads lists and writes down what they show, the fetcher gets the
killmails themselves and has them stored. `corporations` looks for corporations whose lists can be read.

Knows auth, esi and core; storage and amqp fill its ports.
"""
