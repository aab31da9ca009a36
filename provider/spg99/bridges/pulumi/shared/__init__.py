"""What both Pulumi bridges share. Not here: their wires, which differ (dynamic/wire.py, native/wire.py)."""
