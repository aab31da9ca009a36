"""Changing who keeps a timeline's WAL while it is written: one lost for good is replaced, all are moved elsewhere. Rules only.

    seeded          a new safekeeper begins with all that a peer has: its WAL, which may be nowhere else, and its promise
    begin_change    both sets from now on: whatever is promised or acknowledged needs enough of either
    finish_change   the new set alone, once it knows all that the old one may have promised or acknowledged alone
    abandon_change  the old set alone: it took part in everything

The catalogue holds the one configuration there is and moves it from number to number, each time under the condition that nobody else did.
Any of the steps may be taken again by anybody after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from spg99.wal.fence import Keeper
from spg99.wal.quorum import Configuration, Members, witnesses_needed


@dataclass(frozen=True)
class NotYet:
    """What a change waits for."""

    adopt: frozenset[str]
    """Members of the old set who do not know of the change, while too few do."""
    promise: frozenset[str]
    """Members of the new set who have not promised `term` to `compute_id`, while too few have."""
    fill: frozenset[str]
    """Members of the new set who do not hold all that may have been acknowledged, while too few do."""
    term: int = 0
    compute_id: str = ""


def seeded(peer: Keeper, keeper_id: str) -> Keeper:
    """A new safekeeper with a copy of all that `peer` has. It takes part once a configuration names it."""
    return replace(peer, id=keeper_id)


def begin_change(configuration: Configuration, members: Members) -> Configuration:
    """Both sets. ValueError while another change is on."""
    if configuration.next_members is not None:
        raise ValueError(f"configuration {configuration.number} is already changing")
    return Configuration(configuration.number + 1, configuration.members, members)


def abandon_change(configuration: Configuration) -> Configuration:
    """Back to the old set, at any time before the change is finished."""
    return Configuration(configuration.number + 1, configuration.members)


def finish_change(configuration: Configuration, keepers: Iterable[Keeper]) -> Configuration | NotYet:
    """The new set alone, or what is missing. `keepers` is what members of either set have answered since they were told of this change.

    1. Members of the old set who know of it (they refuse whoever comes without it) are as many as meet every set of theirs that acknowledged
       and every set that promised. So nothing is promised or acknowledged by the old set alone any more, and what was, they know: the highest
       promise, and the highest (last term, flush LSN), which is the log that a start would choose.
    2. As many of the new set have promised that term: to the same compute, or a higher one. So no lower term is acknowledged, and this one not given twice.
    3. A quorum of the new set holds that log or a later one. So every start by the new set finds what was acknowledged, and finds it as often kept as before.
    """
    if configuration.next_members is None:
        raise ValueError(f"configuration {configuration.number} is not changing")
    known = {keeper.id: keeper for keeper in keepers}
    old, new = configuration.members, configuration.next_members
    witnesses = [
        known[one] for one in old.ids & known.keys() if known[one].configuration.number >= configuration.number
    ]
    if len(witnesses) < witnesses_needed(len(old.ids), old.quorum):
        adopted = {witness.id for witness in witnesses}
        return NotYet(adopt=old.ids - adopted, promise=frozenset(), fill=frozenset())
    term, compute_id = max((witness.promised_term, witness.promised_to) for witness in witnesses)
    end = max((witness.last_term, witness.flush_lsn) for witness in witnesses)
    joined = [known[one] for one in new.ids & known.keys()]
    promised = {
        keeper.id
        for keeper in joined
        if keeper.promised_term > term or (keeper.promised_term, keeper.promised_to) == (term, compute_id)
    }
    filled = {keeper.id for keeper in joined if (keeper.last_term, keeper.flush_lsn) >= end}
    enough_promised = len(promised) >= witnesses_needed(len(new.ids), new.quorum)
    enough_filled = len(filled) >= new.quorum
    if enough_promised and enough_filled:
        return Configuration(configuration.number + 1, new)
    return NotYet(
        adopt=frozenset(),
        promise=frozenset() if enough_promised else new.ids - promised,
        fill=frozenset() if enough_filled else new.ids - filled,
        term=term,
        compute_id=compute_id,
    )
