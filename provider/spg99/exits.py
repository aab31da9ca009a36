"""How a process ended, in words, from its exit code. Here: codes as subprocess answers them and as a shell does. Not here: what
follows from it."""

from __future__ import annotations

import signal

_AS_A_SHELL_SAYS_IT = 128
"""A program that ran another answers 128 and the signal that ended it: shells do, and what the engine starts to watch over others."""


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 99` for one that has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_it_ended(code: int) -> str:
    """`SIGTERM` for -15, `exit code 143 (as after SIGTERM)` for 143, `exit code 3` for 3."""
    if code < 0:
        return signal_name(-code)
    if code > _AS_A_SHELL_SAYS_IT and (name := signal_name(code - _AS_A_SHELL_SAYS_IT)).startswith("SIG"):
        return f"exit code {code} (as after {name})"
    return f"exit code {code}"
