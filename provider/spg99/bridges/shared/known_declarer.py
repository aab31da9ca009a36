"""Who declares an object that is in a create's way, as the Control Plane knows it. Here: asking. Not here: what the user is told
of it (creating.py), who the asking declaration is (spg99/declarer.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spg99.bridges.shared.objects import Values
from spg99.declarer import Declarer, bounded
from spg99.errors import Spg99Error
from spg99.reach import PAGE_ITEMS_MAX
from spg99.shapes import Noun

if TYPE_CHECKING:
    from spg99.client import Client  # brings much along, which a bridge needs only once it connects


async def declared_in_this_state(client: Client, noun: Noun, there: Values, declarer: Declarer | None) -> str | None:
    """The resource of the declarer's own stack or state that declares the object `there` (empty: the tool does not say which);
    None: another stack declares it, or nobody can say. Nothing is raised: the question only makes a message better.
    """
    if declarer is None or (uid := there.get(noun.uid_field)) is None:
        return None
    params: dict[str, Any] = {"state": bounded(declarer.state), "limit": PAGE_ITEMS_MAX}
    try:
        while True:
            page = await client.call("GET", "/declarations", params=params)
            for item in page["items"]:
                if item["uid"] == uid:
                    return item["resource"] or ""
            if (cursor := page.get("next_cursor")) is None:
                return None
            params["cursor"] = cursor
    except (Spg99Error, KeyError, TypeError, AttributeError):  # an older Control Plane has no such list
        return None
