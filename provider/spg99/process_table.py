"""The processes of this machine as they are now. Here: reading the table. Not here: telling one from a later one of its number
(pids.py), whose a process is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import psutil


def all_processes(attributes: Sequence[str] = ()) -> Iterator[psutil.Process]:
    """Every process, with these attributes in its `info` (None where they may not be read).

    Not psutil.process_iter: that remembers processes by number from one call to the next and leaves out, once, one whose number
    was another's before, and numbers come again after 32,768.
    """
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.info = process.as_dict(list(attributes), ad_value=None) if attributes else {}
            yield process
