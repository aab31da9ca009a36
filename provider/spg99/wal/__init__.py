"""PostgreSQL's WAL and who may write it, as values and rules. Not here: sockets, files, time."""
