"""What every process of ours shares, whatever it does. Here: loops and jobs that cannot die unseen, what wakes
them, stop orders, the ready line, probes, identity. Not here: what a loop does (its own room), what a process says to
another (protocol/, client/).

`loops.py` runs loops, `health.py` is the pure part of it (back-off, who counts as well), `wakeup.py` wakes one who waits,
`jobs.py` keeps work that ends,
`retry.py` work that must succeed some time, `single_flight.py` work that several wait for, `bounded_table.py` is what may be
forgotten; `signals.py`, `ready.py`, `probes.py` are a process's face to whoever runs it,
`identity.py` lets it be known to the Control Plane; `forking.py` makes one that shares its parent's memory, `title.py` is what
`ps` shows of it; `listening.py` takes a port; `clock_steps.py` and `watched_clock.py` notice a wall clock that steps.
"""

from spg99.processes.bounded_table import BoundedTable
from spg99.processes.clock_steps import ClockSteps
from spg99.processes.health import Unhealthy
from spg99.processes.jobs import Jobs
from spg99.processes.loops import Loops, Turn, loop_failures
from spg99.processes.probes import serve_probes
from spg99.processes.ready import read_ready, say_ready
from spg99.processes.retry import retried
from spg99.processes.signals import stop_ordered
from spg99.processes.single_flight import SingleFlight, StillUnderWay
from spg99.processes.wakeup import Wakeup
from spg99.processes.watched_clock import WatchedClock

__all__ = [
    "BoundedTable",
    "ClockSteps",
    "Jobs",
    "Loops",
    "SingleFlight",
    "StillUnderWay",
    "Turn",
    "Unhealthy",
    "Wakeup",
    "WatchedClock",
    "loop_failures",
    "read_ready",
    "retried",
    "say_ready",
    "serve_probes",
    "stop_ordered",
]
