"""Files of the dashboard, the explorer and the plain pages: read once, served from memory."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml; charset=utf-8",
    ".graphql": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file ready to be sent."""

    body: bytes
    media: str
    etag: str


def load_folder(name: str) -> dict[str, File]:
    """Every file below a folder beside this module, by its path in it. A missing folder is empty."""
    folder = files("killsyncd.api.web") / name
    return dict(_walk(folder, "")) if folder.is_dir() else {}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, File]]:
    for entry in folder.iterdir():
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", make_file(entry.name, entry.read_bytes())


def make_file(name: str, body: bytes) -> File:
    """A file out of its bytes; the name's ending says what it is."""
    ending = f".{name.rpartition('.')[2]}"
    media = _TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return File(body, media, f'"{hashlib.sha256(body).hexdigest()[:20]}"')


def send(request: web.Request, file: File | None) -> web.Response:
    """The file, or that the browser has it already. Browsers ask each time: an update shows at once."""
    if file is None:
        raise web.HTTPNotFound(text="there is no such page\n")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == file.etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, headers={"Content-Type": file.media, **headers})
