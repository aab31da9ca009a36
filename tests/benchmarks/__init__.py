"""Measurements, side by side in one run. They print tables and never fail on time."""
