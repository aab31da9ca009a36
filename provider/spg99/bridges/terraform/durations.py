"""Durations as Terraform users write them: `90s`, `10m`, `1h30m`. Pure."""

from __future__ import annotations

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
FORM = 'must be a duration above zero such as "90s", "10m" or "1h30m"'


def seconds_of(text: str) -> float:
    """The seconds of a duration. Raises ValueError with a sentence's end ("must be a duration ...")."""
    import re  # most plans have no time limits in them

    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(FORM)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(FORM)
    return seconds
