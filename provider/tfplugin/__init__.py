"""Terraform's plugin protocol 6, server side, in plain Python. Knows nothing of any provider's resources, nor of this product.

interface.py     what a provider implements, and what it gets: start here
server.py        serve(load_provider): the process Terraform starts
serving.py       connections, and how the process ends; Attached(load_provider): the same inside a test
values.py        values by type: decode, encode, unknown, exact numbers
dispatch.py      which call goes where; what is answered when a provider fails (workers.py: its threads)
handshake.py     cookie, environment, file descriptors, the one line on stdout
certificate.py   a self-signed certificate for one run (curve.py: its arithmetic)
connection.py    a socket and the thread that reads it (sockets.py, tls.py); http2.py, frames.py, hpack.py: the bytes of HTTP/2
grpc.py          calls: length prefixes, status, trailers; protobuf.py, messages.py: the bytes and tables of messages
msgpack.py       the bytes of values
logging.py       log lines which Terraform shows with their level
"""
