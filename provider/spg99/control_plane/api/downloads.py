"""`/downloads`: Pulumi's plugin, for a laptop that has only the CLI. Here: which file is served. Not here: what is in it (emit/pulumi_plugin.py).

No key is needed: the CLI fetches a plugin before it knows any, and nothing of users is in it. Archives of other platforms
are served when an operator puts them into the folder `downloads` of the data folder.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from spg99.control_plane.api.plane import plane_of
from spg99.emit import pulumi_plugin
from spg99.errors import NotFound

router = APIRouter(tags=["downloads"])

_NAME = re.compile(rf"{pulumi_plugin.EXECUTABLE}-v[0-9][0-9A-Za-z.+-]*-[a-z0-9]+-[a-z0-9_]+\.tar\.gz")
_making = asyncio.Lock()
_checksums: dict[tuple[Path, int, int], str] = {}


@router.get(
    "/v2/downloads/{name}",
    summary="Pulumi's plugin as an archive",
    response_class=Response,
    responses={200: {"description": "The archive (gzip)"}, 304: {"description": "The archive the caller has"}},
)
async def download(request: Request, name: str) -> Response:
    """`pulumi-resource-spg99-v<version>-<os>-<arch>.tar.gz`: `pluginDownloadURL` is `<base URL>/downloads`.

    The ETag is the SHA-256 of the file.
    """
    folder = plane_of(request).settings.data_dir / "downloads"
    path = folder / name
    if _NAME.fullmatch(name) is None or not await asyncio.to_thread(path.is_file):
        if name != pulumi_plugin.archive_name(pulumi_plugin.this_platform()):
            raise NotFound(
                f"There is no '{name}' here. There are: {', '.join(await asyncio.to_thread(_there, folder))}."
            )
        async with _making:
            if not await asyncio.to_thread(path.is_file):
                await asyncio.to_thread(pulumi_plugin.archive, folder)
    etag = f'"{await asyncio.to_thread(_checksum, path)}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type="application/gzip", filename=name, headers=headers)


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
