"""Processes that are forked from one which has loaded everything already: the modules are loaded once and their memory is
shared. Here: when that is safe, and the fork. Not here: what the child does (commands/preforked.py, gateway/worker.py).

A child is not its parent's continuation: no file of the parent is open in it but those it is given, it never returns into
the parent's code, and nothing that the parent has registered for its own end runs in it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection


def may_fork() -> bool:
    """Whether a fork is safe now: on Linux, with one thread. Elsewhere libraries of the system are not made for it (macOS)."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        # Threads of C code too, which threading.active_count() does not know.
        return len(os.listdir("/proc/self/task")) == 1
    return False


class Forked:
    """A child that was forked, as `subprocess.Popen` is one that was executed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._has_ended = False
        self._ending = threading.Lock()

    def wait(self) -> int:
        """Waits for its end; its exit code, below 0 the signal. 0 where nobody knows it, as `subprocess.Popen.wait`: who
        started us may have had SIGCHLD ignored, and then the kernel keeps none. Called once."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with self._ending:  # from here on the number may be another's
                self._has_ended = True
                return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            with self._ending:
                self._has_ended = True
            return 0

    def send_signal(self, number: int) -> None:
        """Sends a signal; nothing when it has ended."""
        with self._ending:
            if not self._has_ended:
                with contextlib.suppress(ProcessLookupError):  # gone, where the kernel keeps no ends (`wait`)
                    os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


def fork(work: Callable[[], int | None], *, keep: Collection[int] = ()) -> Forked:
    """Forks. The child runs `work`, with open files 0 to 2 and `keep`, and ends with the exit code that it answers or raises
    (SystemExit). Only where `may_fork`. Raises OSError when there is no room for one more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    gc.freeze()  # a collection writes to every object it looks at, and what is written to is shared no more
    pid = os.fork()
    if pid != 0:
        return Forked(pid)
    code = 1
    try:
        _close_all_but(keep)
        _handle_no_signals()
        code = work() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:  # Ctrl-C, before it has a session of its own
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 -- the edge of a process: nobody is above it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _handle_no_signals() -> None:
    """As after an exec: what was ignored stays ignored, what was handled is not any more. Python's own Ctrl-C stays."""
    for number in signal.valid_signals():
        if callable(handler := signal.getsignal(number)) and handler is not signal.default_int_handler:
            signal.signal(number, signal.SIG_DFL)


def _close_all_but(keep: Collection[int]) -> None:
    # Those that are open, not all that could be: an older kernel closes them one by one, and a container may allow a billion.
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number not in keep:
            with contextlib.suppress(OSError):  # the listing's own is closed already
                os.close(number)
