"""Files from a web server: tried again after faults, checked, and complete or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_core.files import atomic

logger = logging.getLogger(__name__)

# Answers that the same question need not get twice: overload, and faults of the server.
PASSING = {408, 425, 429, 500, 502, 503, 504}
SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


class DownloadError(Exception):
    """A file cannot be had; the message says why."""


class DamagedError(DownloadError):
    """Bytes that are not those announced; the next try may bring them."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, seconds, and how often it is asked."""

    timeout_s: float = 60.0
    tries: int = 5
    pause_s: float = 1.0  # before the second try; twice as long before each later one


class _Remembering(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what their answers say of the file behind them.

    A hub of large files names size and SHA-256 there (``X-Linked-Size``, ``X-Linked-Etag``), while
    the storage that it sends to knows neither.
    """

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.seen |= {name.lower(): value for name, value in headers.items()}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, target: Path, patience: Patience = Patience()) -> str:
    """Download into ``target``; the SHA-256 of its bytes, compared with the server's where it says.

    Raises:
        DownloadError: no such file, no answer after all tries, or bytes that are not as announced.
    """
    why = ""
    for attempt in range(patience.tries):
        if attempt:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
            logger.info("%s: %s; try %d of %d", url, why, attempt + 1, patience.tries)
        try:
            return _once(url, target, patience.timeout_s)
        except urllib.error.HTTPError as error:
            why = f"the server answers {error.code} {error.reason}"
            if error.code not in PASSING:
                break
        except urllib.error.URLError as error:
            why = f"no connection: {error.reason}"
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            why = f"the connection broke: {error or type(error).__name__}"
        except DamagedError as error:
            why = str(error)
    raise DownloadError(f"{url}: {why}")


def _once(url: str, target: Path, timeout_s: float) -> str:
    remembering = _Remembering()
    opener = urllib.request.build_opener(remembering)
    target.parent.mkdir(parents=True, exist_ok=True)
    with opener.open(url, timeout=timeout_s) as answer, atomic.replacing(target) as draft:
        with draft.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        said = {name.lower(): value for name, value in answer.headers.items()} | remembering.seen
        size = said.get("x-linked-size") or answer.headers.get("Content-Length")
        if size and draft.stat().st_size != int(size):
            raise DamagedError(f"{draft.stat().st_size} bytes came, {size} were announced")
        with draft.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        wanted = SHA256.fullmatch(said.get("x-linked-etag", ""))
        if wanted and wanted[1] != digest:
            raise DamagedError(f"SHA-256 is {digest[:12]}…, {wanted[1][:12]}… was announced")
    return digest
