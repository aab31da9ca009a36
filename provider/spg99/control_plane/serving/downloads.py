"""`/downloads`: Pulumi's plugin, for a laptop that has only the CLI. Here: which file is served, and how often. Not here: what is in it (emit/pulumi_plugin.py).

No key is needed: the CLI fetches a plugin before it knows any, and nothing of users is in it. In its place there is a limit
by address. An archive that an operator put into the folder `downloads` of the data folder is served as it is; the one for
this machine is else made from what runs here, in `downloads/made`, anew when that has changed.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from spg99 import log
from spg99.control_plane.serving.answers import Problem
from spg99.control_plane.serving.plane import plane_of
from spg99.control_plane.serving.rates import Bucket
from spg99.emit import pulumi_plugin
from spg99.errors import NotFound, Spg99Error, TooManyRequests, Unavailable
from spg99.processes import BoundedTable

DOWNLOADS_PER_MINUTE = 60
"""From one address; a build farm behind one address fetches a plugin once per machine."""
ADDRESSES_MAX = 10_000
CHECKSUMS_MAX = 100
"""Archives whose checksum is remembered: a version has one for each system."""
FAILURE_KEPT_SECONDS = 60.0
"""An archive that could not be made is not tried again for each who asks."""

_log = log.get("control_plane")

router = APIRouter(tags=["downloads"])

_NAME = re.compile(rf"{pulumi_plugin.EXECUTABLE}-v[0-9][0-9A-Za-z.+-]*-[a-z0-9]+-[a-z0-9_]+\.tar\.gz")
_making = asyncio.Lock()
_checksums: BoundedTable[tuple[Path, int, int], str] = BoundedTable(CHECKSUMS_MAX)
_buckets: BoundedTable[tuple[Path, str], Bucket] = BoundedTable(ADDRESSES_MAX)
_failures: BoundedTable[Path, tuple[float, Spg99Error]] = BoundedTable(CHECKSUMS_MAX)
"""By folder: when (monotonic), and what is said until it is tried again."""


@router.get(
    "/v2/downloads/{name}",
    summary="Pulumi's plugin as an archive",
    response_class=Response,
    responses={
        200: {"description": "The archive (gzip)"},
        304: {"description": "The archive the caller has"},
        404: {"model": Problem, "description": "There is no such archive"},
        429: {"model": Problem, "description": "Too many downloads from this address; see Retry-After"},
        500: {"model": Problem, "description": "Something failed inside; it was logged under the request id"},
        503: {"model": Problem, "description": "The archive cannot be made now; see Retry-After"},
    },
)
async def download(request: Request, name: str) -> Response:
    """`pulumi-resource-spg99-v<version>-<os>-<arch>.tar.gz`: `pluginDownloadURL` is `<base URL>/downloads`.

    The ETag is the SHA-256 of the file.
    """
    folder = plane_of(request).settings.data_dir / "downloads"
    _check_rate(folder, request.client.host if request.client is not None else "", time.monotonic())
    path = folder / name
    if _NAME.fullmatch(name) is None or not await asyncio.to_thread(path.is_file):
        if name != pulumi_plugin.archive_name(pulumi_plugin.this_platform()):
            raise NotFound(
                f"There is no '{name}' here. There are: {', '.join(await asyncio.to_thread(_there, folder))}."
            )
        path = await _made(folder)
    etag = f'"{await asyncio.to_thread(_checksum, path)}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type="application/gzip", filename=name, headers=headers)


def _check_rate(folder: Path, address: str, now: float) -> None:
    """Raises TooManyRequests for an address that asks too often."""
    if (folder, address) not in _buckets:
        _buckets[folder, address] = Bucket(DOWNLOADS_PER_MINUTE, now)
    seconds = _buckets[folder, address].take(DOWNLOADS_PER_MINUTE, now)
    if seconds is not None:
        raise TooManyRequests("Too many downloads from this address. Wait and retry.", retry_after_seconds=seconds)


async def _made(folder: Path) -> Path:
    """The archive for this machine, of what runs here now. Raises Unavailable when it cannot be made."""
    async with _making:
        key = await asyncio.to_thread(pulumi_plugin.content_key)
        path = folder / "made" / key / pulumi_plugin.archive_name(pulumi_plugin.this_platform())
        if await asyncio.to_thread(path.is_file):
            return path
        failed_at, said = _failures.get(folder, (0.0, None))
        if said is not None and time.monotonic() < failed_at + FAILURE_KEPT_SECONDS:
            raise said
        try:
            await asyncio.to_thread(_make, path.parent)
        except (Spg99Error, OSError, ImportError, ValueError) as problem:
            _log.error("the archive of Pulumi's plugin cannot be made", error=str(problem), kind=type(problem).__name__)
            said = problem if isinstance(problem, Spg99Error) else None
            if said is None:
                said = Unavailable(
                    "The archive cannot be made here now; the log of the Control Plane says why. An operator can put one "
                    "into its folder `downloads` (`spg99 plugin package`).",
                    retry_after_seconds=int(FAILURE_KEPT_SECONDS),
                )
            _failures[folder] = (time.monotonic(), said)
            raise said from None
        _failures.pop(folder, None)
        return path


def _make(folder: Path) -> None:
    """Makes the archive and removes those of what ran here before."""
    pulumi_plugin.archive(folder)
    for old in folder.parent.iterdir():
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def _there(folder: Path) -> list[str]:
    """What can be had: the files there are, and the one that is made when it is asked for."""
    kept = {path.name for path in folder.glob("*.tar.gz") if _NAME.fullmatch(path.name)} if folder.is_dir() else set()
    return sorted(kept | {pulumi_plugin.archive_name(pulumi_plugin.this_platform())})


def _checksum(path: Path) -> str:
    seen = path.stat()
    key = (path, seen.st_mtime_ns, seen.st_size)
    if key not in _checksums:
        _checksums[key] = pulumi_plugin.checksum(path)
    return _checksums[key]
