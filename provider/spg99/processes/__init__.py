"""What every process of ours shares, whatever it does. Here: loops that cannot die unseen, and the bell that wakes them.
Not here: what a loop does (its own room), what a process says to another (protocol/, client/).

`loops.py` runs loops, `health.py` is the pure part (back-off, who counts as well), `bell.py` wakes one who waits.
"""

from spg99.processes.bell import Bell
from spg99.processes.health import Unhealthy
from spg99.processes.loops import Loops, Turn, loop_failures

__all__ = ["Bell", "Loops", "Turn", "Unhealthy", "loop_failures"]
