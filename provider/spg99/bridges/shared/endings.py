"""How an operation may end other than well or with a refusal. Here: what is told then. Not here: the operations (operations.py)."""

from __future__ import annotations

from spg99.bridges.shared.objects import Values
from spg99.bridges.shared.words import Words
from spg99.errors import Fault, Spg99Error, Unavailable


class Unfinished(Spg99Error):
    """The object exists but is not as wanted yet. The next run goes on with it."""

    code = "Unfinished"
    fault = Fault.SYSTEM

    def __init__(self, message: str, *, human_id: str, values: Values) -> None:
        super().__init__(message)
        self.human_id = human_id
        self.values = values


class Interrupted(Spg99Error):
    """Interrupted before anything was done."""

    code = "Interrupted"
    fault = Fault.USER


def not_known(lost: Unavailable, words: Words) -> Unavailable:
    """An outage that leaves it open whether a create has made its object: with what the tool, and its user, do about that."""
    said = lost.message.replace(" Nothing was changed.", "")
    return type(lost)(
        f"{said} If the object was made, {words.apply} goes on with it where it is declared; `spg99 orphans` finds it elsewhere.",
        details=lost.details,
        request_id=lost.request_id,
    )
