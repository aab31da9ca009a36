"""A database that begins in another one, as the Control Plane orders it about."""

from __future__ import annotations

from typing import Any

import psycopg

from integration.node.conftest import dsn
from integration.node.kept.databases import USER, Database, KeepingNode
from spg99.ids import new_id
from spg99.protocol.node import TaskResult
from spg99.protocol.tasks import ComputeStart, Kept, Origin, Point, TimelineCreate, TimelineLocate, TimelineLocated
from spg99.resources import Size


class Branch(Database):
    """A database that begins in another one, by another name."""

    def __init__(self, source: Database, point: Point, *, name: str = "preview", kept: Kept | None = None) -> None:
        super().__init__(kept or source.kept)
        self.name = name
        its_name = source.name if isinstance(source, Branch) else "app"
        self.origin = Origin(timeline_id=source.timeline_id, point=point, database_name=its_name, kept=source.kept)

    async def attempt(self, node: Any) -> TaskResult:
        self.term += 1
        self.compute_id = new_id("cmp")
        order = ComputeStart(
            compute_id=self.compute_id, timeline_id=self.timeline_id, db_id=self.db_id, writer_term=self.term,
            profile=Size.L1, database_name=self.name, pg_user=USER, kept=self.kept,
            makes_timeline=not self.has_started, origin=None if self.has_started else self.origin,
        )  # fmt: skip
        result = await node.do("compute.start", order)
        if result.succeeded:
            self.started, self.has_started = result.result, True
        return result

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        timeline = TimelineCreate(timeline_id=self.timeline_id, database_name=self.name, pg_user=USER)
        return psycopg.connect(dsn(self.started, timeline), autocommit=True, **options)


async def located(node: KeepingNode, database: Database) -> TimelineLocated:
    order = TimelineLocate(timeline_id=database.timeline_id, kept=database.kept)
    result = await node.do("timeline.locate", order)
    assert result.succeeded, result.error
    return TimelineLocated.model_validate(result.result)


async def now_of(node: KeepingNode, database: Database) -> Point:
    return Point(lsn=(await located(node, database)).end_lsn)
