"""The files in static/: style, scripts, pictures. Their addresses hold a hash of them all, so that browsers may
keep them for good.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HASH_CHARACTERS: Final = 12


@cache
def version() -> str:
    """One hash of all files: scripts import each other by relative addresses, which must stay those that pages name."""
    read = sha256()
    for path in sorted(FOLDER.iterdir()):
        read.update(path.name.encode() + b"\0" + path.read_bytes())
    return read.hexdigest()[:HASH_CHARACTERS]


def static_url(name: str) -> str:
    """The address of a file, below the prefix."""
    return f"/static/{version()}/{name}"


async def _file(request: Request) -> Response:
    """The file, for good if the address has today's hash; that of an older page is asked for again each time."""
    path = FOLDER / request.path_params["name"]
    if path.parent != FOLDER or path.suffix not in TYPES or not path.is_file():
        raise HTTPException(404)
    for_good = request.path_params["version"] == version()
    caching = "public, max-age=31536000, immutable" if for_good else "no-cache"
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": caching})


STATIC_ROUTES: Final = [Route("/static/{version}/{name}", _file, methods=["GET"])]
