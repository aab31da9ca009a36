"""The only door to the Control Plane: typed HTTP, retries what may be retried. `Client` for users, `InternalClient` for our processes."""

import sys
from typing import Any

# httpx brings a command line of its own along (click, rich, pygments: half of its import time) wherever these happen to
# be installed. None in sys.modules means "not there" (Python's documented way), and httpx takes that for an answer.
_modules: dict[str, Any] = sys.modules
_hidden = "httpx" not in _modules and _modules.setdefault("httpx._main", None) is None

from spg99.client.api import Client  # noqa: E402
from spg99.client.events import Event  # noqa: E402
from spg99.client.internal import InternalClient  # noqa: E402

if _hidden:
    del _modules["httpx._main"]

__all__ = ["Client", "Event", "InternalClient"]
