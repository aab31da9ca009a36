"""The process that keeps the embedded catalogue running. Here: from start to SIGTERM. Not here: the catalogue itself."""

from __future__ import annotations

import asyncio

from spg99.config import CatalogueSettings
from spg99.control_plane.catalogue import EmbeddedCatalogue
from spg99.errors import Spg99Error, Unavailable
from spg99.processes import Loops, say_ready, stop_ordered


def run(settings: CatalogueSettings) -> None:
    """Blocks until SIGTERM or SIGINT; then the catalogue is stopped."""
    asyncio.run(_run(settings))


async def _run(settings: CatalogueSettings) -> None:
    stop = stop_ordered()
    catalogue = EmbeddedCatalogue(settings.data_dir, settings.pg_bin, run_as=settings.run_as)
    stopping = asyncio.create_task(stop.wait())
    # Started again when it is killed, with a loop's pauses; when it cannot start, this process ends with the reason.
    loops = Loops(fatal=(CannotStart,))
    loops.keep("catalogue", _Keeper(catalogue).run)
    try:
        async with loops:
            running = asyncio.create_task(loops.wait())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            running.cancel()
    except CannotStart as error:
        raise error.why from error
    finally:
        stopping.cancel()
        await catalogue.stop()


class CannotStart(Exception):
    """The catalogue cannot be started: no other try would help. `why` is for the user."""

    def __init__(self, why: Spg99Error) -> None:
        super().__init__(why.message)
        self.why = why


class _Keeper:
    def __init__(self, catalogue: EmbeddedCatalogue) -> None:
        self._catalogue = catalogue
        self._is_ready_said = False

    async def run(self) -> None:
        """Starts it and waits for its end, which it raises as Unavailable; CannotStart when it does not come up."""
        try:
            url = await self._catalogue.start()
        except Spg99Error as error:
            raise CannotStart(error) from error
        if not self._is_ready_said:
            say_ready("catalogue", url=url)
            self._is_ready_said = True
        raise Unavailable(f"The catalogue ended: {await self._catalogue.wait_end()}")
