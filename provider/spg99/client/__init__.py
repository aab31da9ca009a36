"""The only client of the Control Plane: typed HTTP, retries what may be retried. `Client` for users, `InternalClient` for our processes."""

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

# httpx brings a command line of its own along (click, rich, pygments: half of its import time) wherever these happen to
# be installed. None in sys.modules means "not there" (Python's documented way), and httpx takes that for an answer.
_modules: dict[str, Any] = sys.modules
_hidden = "httpx" not in _modules and _modules.setdefault("httpx._main", None) is None

from spg99.client.api import Client  # noqa: E402
from spg99.client.events import Event  # noqa: E402

if TYPE_CHECKING:
    from spg99.client.internal import InternalClient

if _hidden:
    del _modules["httpx._main"]
# httpcore imports this for every lock that it makes, and looks for it on the whole path each time where it is not there.
if importlib.util.find_spec("sniffio") is None:
    _modules.setdefault("sniffio", None)

__all__ = ["Client", "Event", "InternalClient"]


def __getattr__(name: str) -> Any:
    """InternalClient when it is asked for: its messages bring pydantic along, which a bridge has no use for."""
    if name == "InternalClient":
        from spg99.client.internal import InternalClient

        return InternalClient
    raise AttributeError(name)
