"""The process that keeps the embedded catalogue running. Here: from start to SIGTERM. Not here: the catalogue itself."""

from __future__ import annotations

import asyncio

from spg99 import log
from spg99.config import CatalogueSettings
from spg99.control_plane.catalogue import EmbeddedCatalogue
from spg99.processes import say_ready, stop_ordered

_log = log.get("catalogue")


def run(settings: CatalogueSettings) -> None:
    """Blocks until SIGTERM or SIGINT; then the catalogue is stopped."""
    asyncio.run(_run(settings))


async def _run(settings: CatalogueSettings) -> None:
    stop = stop_ordered()
    catalogue = EmbeddedCatalogue(settings.data_dir, settings.pg_bin, run_as=settings.run_as)
    stopping = asyncio.create_task(stop.wait())
    is_ready_said = False
    try:
        while not stop.is_set():
            # Started again here at once when it is killed; when it cannot start, this process ends with the reason.
            url = await catalogue.start()
            if not is_ready_said:
                say_ready("catalogue", url=url)
                is_ready_said = True
            ending = asyncio.create_task(catalogue.wait_end())
            await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done() and not stop.is_set():
                _log.warning("ended, starting it again", reason=ending.result())
            ending.cancel()
    finally:
        stopping.cancel()
        await catalogue.stop()
