"""The Gateway: speaks PostgreSQL to clients, wakes sleepers, holds leases. Not here: bytes (wire/), decisions (Control Plane)."""
