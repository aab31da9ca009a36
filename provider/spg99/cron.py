"""Cron expressions in UTC: what is wrong with one, and when it is due next. Not here: what is done then.

Five fields as Debian's cron takes them, read by `cronsim`, and the names that cron has for some of them (`@daily`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cronsim import CronSim

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: Final = {
    "Bad minute": ("minute", 0),
    "Bad hour": ("hour", 1),
    "Bad day-of-month": ("day of the month", 2),
    "Bad month": ("month", 3),
    "Bad day-of-week": ("day of the week", 4),
}
_FORM: Final = (
    "five fields in UTC (minute, hour, day of the month, month, day of the week), such as '30 2 * * *', or one of "
    "@hourly, @daily, @weekly, @monthly, @yearly"
)
_BEGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NEVER: Final = timedelta(days=365 * 50)


def complaint(expression: str) -> str | None:
    """What is wrong with an expression, as a sentence without its subject; None: nothing. One that is never due is wrong."""
    from cronsim import CronSimError  # only for who declares or carries out a schedule: bridges load the rules at start

    words = _spelt_out(expression).split()
    if len(words) != len(_FIELDS):
        return f"must be {_FORM}"
    try:
        simulated = _simulated(expression, _BEGIN)
    except (
        CronSimError,
        ValueError,
        AssertionError,
    ) as error:  # the last two: texts that the library has not thought of
        name, place = _FIELDS.get(str(error), ("expression", None))
        what = words[place] if place is not None else expression
        return f"the {name} '{what[:40]}' is not one that cron knows; it must be {_FORM}"
    return None if next(simulated, None) is not None else f"'{expression}' is never due"


def next_after(expression: str, moment: datetime) -> datetime:
    """When a right expression is due next after `moment` (UTC); fifty years later for one that is not within these."""
    found: datetime | None = next(_simulated(expression, moment.astimezone(UTC)), None)
    return found if found is not None else moment + _NEVER


def _spelt_out(expression: str) -> str:
    return ALIASES.get(expression.strip().lower(), expression)


def _simulated(expression: str, moment: datetime) -> CronSim:
    from cronsim import CronSim  # as above

    return CronSim(_spelt_out(expression), moment)
