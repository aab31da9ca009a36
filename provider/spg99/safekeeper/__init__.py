"""A safekeeper: keeps the WAL of databases, so that a commit outlives the compute that made it. Not here: who may write (wal/), images."""
