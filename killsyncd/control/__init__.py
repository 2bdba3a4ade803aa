"""The control socket: HTTP with JSON over a unix socket, its server and its client.

The client is the standard library alone, because `killsyncd ctl` must start fast; nothing in
this file may import the server. The server knows service and what is below it, and `http`.
"""
