"""Objects of a collection on a server of the test: chosen, fetched, checked, continued."""

import gzip
import hashlib
import http.server
import json
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from refusals import assert_refused

from blender_render import fetch_objaverse
from blender_render.render import find_assets
from blender_render.rendering.config import RenderConfig
from blender_render.sources.objaverse import read_uids
from training_core.config import InputError

ROOT = Path(__file__).parents[3]
UIDS = [f"{i:032x}" for i in range(5)]
# animations, faces, licence
FACTS = [(1, 100, "by"), (0, 100, "by"), (2, 9000, "cc0"), (1, 200, "by-nc"), (1, 300, None)]


def glb(number: int) -> bytes:
    """The frame of a binary glTF around bytes that differ."""
    body = bytes([number]) * (1000 + number)
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; of those in ``faults``, the first answers are these codes, or "cut"."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Any]] = {}
        self.etags: dict[str, str] = {}
        self.asked: Counter[str] = Counter()

    def publish(self) -> None:
        paths = {uid: f"glbs/00{i % 2}-000/{uid}.glb" for i, uid in enumerate(UIDS)}
        tables: dict[str, dict[str, Any]] = {"000-000": {}, "001-000": {}}
        for i, (uid, path) in enumerate(paths.items()):
            animations, faces, licence = FACTS[i]
            annotation = {"animationCount": animations, "faceCount": faces, "license": licence}
            more = {"name": f"object {i}", "viewerUrl": f"page/{uid}", "user": {"username": "ann"}}
            tables[path.split("/")[1]][uid] = annotation | more
            self.files[path] = glb(i)
        self.files["object-paths.json.gz"] = gzip.compress(json.dumps(paths).encode())
        for folder, table in tables.items():
            self.files[f"metadata/{folder}.json.gz"] = gzip.compress(json.dumps(table).encode())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        stored = name.removeprefix("storage/")
        if stored not in self.server.files:
            return self.send_error(404)
        content = self.server.files[stored]
        if stored == name and name.endswith(".glb"):  # as the hub does with large files
            self.server.asked[name] += 1
            digest = self.server.etags.get(name, hashlib.sha256(content).hexdigest())
            self.send_response(302)
            self.send_header("Location", f"/storage/{name}")
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        faults = self.server.faults.get(stored, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            return self.send_error(fault)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = True
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        running.publish()
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses between tries."""
    monkeypatch.setattr("blender_render.sources.download.time.sleep", lambda seconds: None)


def fetch(server: Server, folder: Path, *words: str) -> int:
    arguments = [f"index={server.url}", f"output={folder}", "tries=3", "timeout_s=5", *words]
    return fetch_objaverse.main(arguments)


def listed(folder: Path, *uids: str) -> str:
    path = folder / "ids.txt"
    path.write_text("# ids\n" + "".join(f"{uid}\n" for uid in uids))
    return f"uids={path}"


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "objects.jsonl").read_text().splitlines()
    return {entry["uid"]: entry for entry in map(json.loads, lines)}


def test_a_list_of_ids_becomes_assets_with_their_licences(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fetch(server, out, listed(tmp_path, UIDS[3], UIDS[0])) == 0
    entries = manifest(out)
    assert sorted(entries) == [UIDS[0], UIDS[3]]
    assert entries[UIDS[3]]["licence"] == "by-nc" and entries[UIDS[3]]["author"] == "ann"
    assert entries[UIDS[3]]["page"] == f"page/{UIDS[3]}" and entries[UIDS[3]]["faces"] == 200
    for i in (0, 3):
        assert (out / f"{UIDS[i]}.glb").read_bytes() == glb(i)
        assert entries[UIDS[i]]["sha256"] == hashlib.sha256(glb(i)).hexdigest()
    # The renderer takes the list, in the order of the ids that were given.
    assets = find_assets(RenderConfig(assets=[f"@{out}/assets.txt"], output=str(tmp_path)))
    assert [asset.name for asset in assets] == [UIDS[3], UIDS[0]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [0, 2, 4, 3]),  # folder by folder
        (["animated=false"], [0, 2, 4, 1, 3]),
        (["licences=[by,cc0]"], [0, 2]),
        (["max_faces=250"], [0, 3]),
        (["min_faces=150", "limit=2"], [2, 4]),
    ],
)
def test_objects_are_chosen_by_what_is_published(
    server: Server, tmp_path: Path, words: list[str], expected: list[int]
) -> None:
    assert fetch(server, tmp_path, *(["limit=9"] if "limit=2" not in words else []), *words) == 0
    lines = (tmp_path / "assets.txt").read_text().splitlines()
    assert [Path(line).stem for line in lines] == [UIDS[i] for i in expected]


def test_the_same_command_fetches_only_what_is_missing(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (server_path(server, uid) for uid in UIDS[:2])
    ids = listed(tmp_path, *UIDS[:2])
    server.faults[second] = [503, 503, 503]
    assert fetch(server, out, ids) == fetch_objaverse.EXIT_SOME_FAILED
    assert sorted(manifest(out)) == [UIDS[0]] and not (out / f"{UIDS[1]}.glb").exists()
    with (out / "objects.jsonl").open("a") as file:
        file.write('{"uid": "cut')  # as a kill leaves it
    assert fetch(server, out, ids) == 0
    assert sorted(manifest(out)) == UIDS[:2]
    assert server.asked == {first: 1, second: 4}
    # A file that was lost or shortened comes again.
    (out / f"{UIDS[0]}.glb").write_bytes(b"glTF")
    assert fetch(server, out, ids) == 0
    assert server.asked == {first: 2, second: 4} and (out / f"{UIDS[0]}.glb").read_bytes() == glb(0)


def server_path(server: Server, uid: str) -> str:
    return next(name for name in server.files if name.endswith(f"{uid}.glb"))


@pytest.mark.parametrize("fault", [503, 429, "cut"])
def test_passing_faults_are_tried_again(server: Server, tmp_path: Path, fault: Any) -> None:
    name = server_path(server, UIDS[0])
    server.faults[name] = [fault, fault]
    assert fetch(server, tmp_path / "out", listed(tmp_path, UIDS[0])) == 0
    assert server.asked[name] == 3
    assert (tmp_path / f"out/{UIDS[0]}.glb").read_bytes() == glb(0)


def test_what_cannot_be_had_is_named_and_the_rest_is_there(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, wrong, text = (server_path(server, uid) for uid in UIDS[:3])
    del server.files[gone]
    server.etags[wrong] = "0" * 64
    server.files[text] = b"<html>"
    unknown = "f" * 32
    out = tmp_path / "out"
    ids = listed(tmp_path, *UIDS[:4], unknown)
    assert fetch(server, out, ids) == fetch_objaverse.EXIT_SOME_FAILED
    assert [path.stem for path in out.glob("*.glb")] == [UIDS[3]] == list(manifest(out))
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    for uid, why in (
        (UIDS[0], "answers 404"),
        (UIDS[1], "SHA-256 is"),
        (UIDS[2], "not a binary glTF"),
        (unknown, "not in the index"),
    ):
        assert any(uid in line and why in line for line in said), said
    assert server.asked[wrong] == 3  # another try may bring the right bytes


def test_no_server_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["index=http://127.0.0.1:9", f"output={tmp_path}", "limit=1", "tries=2"]
    why = ("the index of Objaverse cannot be read", "no connection")
    assert_refused(fetch_objaverse.main, words, capsys, *why)


def test_lists_are_checked_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(read_uids(ROOT / "configs/benchmark/objaversedy_test.txt")) == 20
    (tmp_path / "bad.txt").write_text(f"{UIDS[0]}\nfox\n")
    with pytest.raises(InputError, match="line 2: 'fox' is no id"):
        read_uids(tmp_path / "bad.txt")
    for words, why in (
        (["limit=0"], "limit"),
        ([f"uids={tmp_path}/none.txt", "--dry-run"], "none"),
    ):
        assert_refused(fetch_objaverse.main, [f"output={tmp_path}", *words], capsys, why)
