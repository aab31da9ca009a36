"""Clients that write numbers through the Gateway and remember which were acknowledged. Not here: what is broken meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import psycopg

Row = tuple[int, int]


class Writer(threading.Thread):
    """Inserts numbers and remembers which were acknowledged, reconnecting as often as it takes."""

    def __init__(self, number: int, dsn: str, stop: threading.Event) -> None:
        super().__init__(name=f"writer-{number}")
        self.number, self.dsn, self.stop = number, dsn, stop
        self.acknowledged: set[int] = set()
        self.sent = 0
        self.sessions = 0
        self.surprise: Exception | None = None

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.dsn, connect_timeout=20, autocommit=True) as connection:
                    self.sessions += 1
                    while not self.stop.is_set():
                        self.sent += 1
                        connection.execute("insert into rows values (%s, %s)", (self.number, self.sent))
                        self.acknowledged.add(self.sent)
            except psycopg.OperationalError:
                time.sleep(0.02)
            except Exception as error:
                self.surprise = error
                return


AT_ONCE = 10


class PipelinedWriter(Writer):
    """Sends some commits before it waits for their answers: each is a transaction of its own. Those of a batch count once all of it is answered."""

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.dsn, connect_timeout=20, autocommit=True) as connection:
                    self.sessions += 1
                    while not self.stop.is_set():
                        begin = self.sent
                        with connection.pipeline() as pipeline:
                            for _ in range(AT_ONCE):
                                self.sent += 1
                                connection.execute("insert into rows values (%s, %s)", (self.number, self.sent))
                                pipeline.sync()
                        self.acknowledged.update(range(begin + 1, self.sent + 1))
            except psycopg.OperationalError:
                time.sleep(0.02)
            except Exception as error:
                self.surprise = error
                return


def grown(writers: Sequence[Writer], rows: int) -> Callable[[], bool]:
    """A check: so many more rows were acknowledged since now, by writers of which none has stopped."""
    before = sum(len(writer.acknowledged) for writer in writers)

    def check() -> bool:
        assert all(writer.is_alive() for writer in writers), [writer.surprise for writer in writers]
        return sum(len(writer.acknowledged) for writer in writers) >= before + rows

    return check


def lost_of(writers: Sequence[Writer], found: Iterable[Row]) -> tuple[set[Row], set[Row]]:
    """All rows that were acknowledged, and those of them that are not there."""
    acknowledged = {(writer.number, n) for writer in writers for n in writer.acknowledged}
    return acknowledged, acknowledged - set(found)
