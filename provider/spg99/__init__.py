"""SPG99: serverless PostgreSQL you declare. The package's rooms are described in docs/architecture.md."""

__version__ = "0.1.0"
