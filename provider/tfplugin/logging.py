"""Log lines on stderr in the form of go-hclog, which Terraform shows with their level (TF_LOG). Never a secret in them.

Not here: what the user must see: that is a diagnostic.
"""

from __future__ import annotations

import os
import time

TRACE, DEBUG, INFO, WARN, ERROR = "trace", "debug", "info", "warn", "error"
_LEVELS = (TRACE, DEBUG, INFO, WARN, ERROR)


def least_level(environ: os._Environ[str] | dict[str, str]) -> str:
    """The least level that somebody wants to see: Terraform tells its plugins by the same variables a user sets."""
    wanted = (environ.get("TF_LOG_PROVIDER") or environ.get("TF_LOG") or "").lower()
    return TRACE if wanted == "json" else wanted if wanted in _LEVELS else WARN


_least = _LEVELS.index(least_level(os.environ))


def log(level: str, message: str, **fields: object) -> None:
    """Write one line; `fields` are further facts. Never raises: a lost line is better than a lost call."""
    if _LEVELS.index(level) < _least:
        return
    # Late: a start without anything to say needs no JSON.
    import json

    now = time.time()
    line = {
        "@level": level,
        "@message": message,
        "@module": "provider.plugin",
        "@timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z",
        **fields,
    }
    try:  # noqa: SIM105 - contextlib would be one more import of a start
        os.write(2, json.dumps(line, default=str).encode() + b"\n")
    except OSError:
        pass  # Terraform is gone
