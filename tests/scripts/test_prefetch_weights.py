"""scripts/prefetch_weights.py against a small hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "stabilityai/stable-video-diffusion-img2vid"
REVISION = "1" * 40
WEIGHTS = "unet/model.fp16.safetensors"


class Hub(ThreadingHTTPServer):
    """Serves one model the way the hub does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        tensor = np.zeros((3, 5), dtype=np.float16)
        self.files = {
            WEIGHTS: save({"a": tensor, "b": tensor}),
            "unet/config.json": b"{}",
            "unet/other.safetensors": b"not wanted",
        }
        self.sha256 = {WEIGHTS: hashlib.sha256(self.files[WEIGHTS]).hexdigest()}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *details: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        if path.startswith(f"/api/models/{REPOSITORY}"):
            listed = [
                {"rfilename": name, "size": len(data), "blobId": "b" * 40}
                | ({"lfs": self.lfs(name)} if name in self.server.sha256 else {})
                for name, data in self.server.files.items()
            ]
            self.send({"id": REPOSITORY, "sha": REVISION, "siblings": listed})
            return
        prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
        if not path.startswith(prefix):
            self.send_error(404)
            return
        data = self.server.files[path.removeprefix(prefix)]
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def lfs(self, name: str) -> dict:
        size = len(self.server.files[name])
        return {"size": size, "sha256": self.server.sha256[name], "pointerSize": 130}

    def send(self, value: dict) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def prefetch(hub: Hub | None, home: Path, *words: str) -> tuple[int, str]:
    """Run the script with a hub, or with one that cannot be reached."""
    port = hub.server_address[1] if hub else 1
    # No variable of the machine's own may lead elsewhere, or through a proxy.
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(home),
        "HOME": str(home),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/prefetch_weights.py"), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_weights_are_shown_fetched_checked_and_locked(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    code, said = prefetch(hub, tmp_path, "svd", "--dry-run")
    assert code == 0 and "licence: Stability" in said and "in 2 files" in said, said
    assert not any("resolve" in line for line in hub.asked)

    code, said = prefetch(hub, tmp_path, "svd")
    assert code == 0 and "2 tensors, can be used without network" in said, said
    assert not any("other" in line for line in hub.asked)
    lock = json.loads((tmp_path / "weights.lock.json").read_text())[REPOSITORY]
    assert lock["revision"] == REVISION and lock["files"][WEIGHTS]["sha256"] == hub.sha256[WEIGHTS]

    hub.asked.clear()  # a second start downloads nothing and asks for the same revision
    code, said = prefetch(hub, tmp_path, "svd")
    assert code == 0, said
    assert not any(line.startswith("GET") and "resolve" in line for line in hub.asked)
    assert any(f"revision/{REVISION}" in line for line in hub.asked)

    code, said = prefetch(None, tmp_path, "svd", "--check")
    assert code == 0 and "2 tensors" in said


@pytest.mark.slow
def test_what_is_missing_or_damaged_is_said_in_one_line(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    hub.sha256[WEIGHTS] = "0" * 64
    code, said = prefetch(hub, tmp_path, "svd")
    assert code == 2 and "damaged" in said and "Traceback" not in said
    code, said = prefetch(None, tmp_path, "svd", "--check")
    assert code == 2 and "on a login node: python scripts/prefetch_weights.py svd" in said
    code, said = prefetch(None, tmp_path / "fresh", "svd")
    assert code == 2 and "no internet here?" in said and len(said.strip().splitlines()) == 1
