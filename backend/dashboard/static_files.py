"""The dashboard's own style sheet and script: read, tightened and compressed once, named after what is in them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from flask import Response, request

from dashboard.joined_modules import after_first_frame, joined
from web.compression import accepts_gzip
from web.problems import Problem

MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SCRIPT = "page.js"
"""The module that a page begins with, and what all of them are joined into."""

SHEET = "dashboard.css"

_DIGEST_LENGTH = 12
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CSS_STRING = re.compile(r'("[^"]*")')
_CSS_BLANKS = re.compile(r"\s*([{};,])\s*|(?<=:)\s+")
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """A file as it is sent."""

    media_type: str
    plain: bytes
    compressed: bytes


@dataclass(frozen=True)
class InlineSheet:
    """The style sheet, to be written into a page; a policy lets a browser take it under the name `allowed_as`."""

    text: str
    allowed_as: str


class StaticFiles:
    """The files of `dashboard/static`, the modules joined into one script. All lie under a folder of their digest."""

    def __init__(self) -> None:
        texts = {
            file.name: file.read_bytes()
            for file in sorted((files("dashboard") / "static").iterdir(), key=lambda file: file.name)
            if any(file.name.endswith(ending) for ending in MEDIA_TYPES)
        }
        modules = {name[:-3]: texts.pop(name).decode() for name in list(texts) if name.endswith(".js")}
        texts[SCRIPT] = after_first_frame(joined(modules, SCRIPT[:-3])).encode()
        texts |= {name: tight(plain.decode()).encode() for name, plain in texts.items() if name.endswith(".css")}
        self._files = {name: _read(name, plain) for name, plain in texts.items()}
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(name.encode() + b"\0" + file.plain + b"\0")
        self.digest = digest.hexdigest()[:_DIGEST_LENGTH]
        sheet = self._files[SHEET].plain
        named = base64.b64encode(hashlib.sha256(sheet).digest()).decode()
        self.inline_sheet = InlineSheet(sheet.decode(), f"'sha256-{named}'")

    def names(self) -> list[str]:
        return list(self._files)

    def size(self, name: str) -> int:
        """Bytes as written."""
        return len(self._files[name].plain)

    def answer(self, digest: str, name: str) -> Response:
        """The file, to be kept for ever; one of another version is not there.

        Raises:
            Problem: 404.
        """
        file = self._files.get(name) if digest == self.digest else None
        if file is None:
            raise Problem(404, f"there is no file {name!r} of this version: load the page anew")
        packed = accepts_gzip(request.headers.get("Accept-Encoding"))
        answer = Response(file.compressed if packed else file.plain, mimetype=file.media_type)
        if packed:
            answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
        answer.headers["Cache-Control"] = _FOREVER
        return answer


def tight(sheet: str) -> str:
    """A style sheet without comments and the blanks that mean nothing."""
    pieces = _CSS_STRING.split(_CSS_COMMENT.sub("", sheet))
    for place in range(0, len(pieces), 2):  # between them are strings, as they are
        pieces[place] = _CSS_BLANKS.sub(r"\1", re.sub(r"\s+", " ", pieces[place]))
    return "".join(pieces).strip()


def _read(name: str, plain: bytes) -> StaticFile:
    media_type = next(kind for ending, kind in MEDIA_TYPES.items() if name.endswith(ending))
    return StaticFile(media_type, plain, gzip.compress(plain, 9, mtime=0))
