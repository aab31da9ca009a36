"""The only client of the Control Plane: typed HTTP, retries what may be retried. `Client` for users, `InternalClient` for our processes."""

from typing import TYPE_CHECKING, Any

from spg99.client.api import Client

if TYPE_CHECKING:
    from spg99.client.events import Event
    from spg99.client.internal import InternalClient

__all__ = ["Client", "Event", "InternalClient"]


def __getattr__(name: str) -> Any:
    """What a bridge has no use for, when it is asked for: InternalClient's messages bring pydantic along, events an event loop."""
    if name == "InternalClient":
        from spg99.client.internal import InternalClient

        return InternalClient
    if name == "Event":
        from spg99.client.events import Event

        return Event
    raise AttributeError(name)
