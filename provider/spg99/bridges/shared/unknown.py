"""A value that is not known yet because the object it comes from does not exist. Here: the one marker all bridges use."""

from __future__ import annotations

from typing import Any, Final


class Unknown:
    """The type of `UNKNOWN`."""

    _instance: Unknown | None = None

    def __new__(cls) -> Unknown:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "<known after apply>"

    def __bool__(self) -> bool:
        raise TypeError("an unknown value is neither true nor false")


UNKNOWN: Final = Unknown()


def has_unknown(value: Any) -> bool:
    """Whether `value` is unknown or holds something unknown at any depth."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_unknown(item) for item in value)
    return False
