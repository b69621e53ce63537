"""Finding and fetching checkpoints, from a server on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.checkpoints import registry
from nnunetv2_supervoxel.checkpoints.registry import (
    FOLDER_VARIABLE,
    OFFICIAL_CHECKPOINTS,
    OfficialCheckpoint,
    checkpoint_folder,
    download_checkpoint,
    find_checkpoint,
)

CONTENT = np.random.default_rng(0).bytes(5_000_000)


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; understands ranges; /broken breaks off after 2 MB the first time."""

    ranges: list[str] = []  # noqa: RUF012
    broken = 0

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "bytes=0-")
        Server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.path == "/broken/x.pt" and not Server.broken:
            Server.broken, body = 1, body[:2_000_000]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.ranges, Server.broken = [], 0
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


def checkpoint(url: str) -> OfficialCheckpoint:
    return OfficialCheckpoint("sam2", "large", url, hashlib.sha256(CONTENT).hexdigest())


def test_every_official_file_is_known_with_its_digest() -> None:
    assert list(OFFICIAL_CHECKPOINTS["sam"]) == ["vit_h", "vit_l", "vit_b"]
    assert list(OFFICIAL_CHECKPOINTS["sam2"]) == ["large", "base_plus", "small", "tiny"]
    for family in OFFICIAL_CHECKPOINTS.values():
        for entry in family.values():
            assert entry.url.startswith("https://dl.fbaipublicfiles.com/segment_anything")
            assert len(bytes.fromhex(entry.sha256)) == 32
    assert OFFICIAL_CHECKPOINTS["sam"]["vit_h"].sha256.startswith("a7bf3b02f3eb")
    assert OFFICIAL_CHECKPOINTS["sam2"]["large"].file_name == "sam2.1_hiera_large.pt"


def test_a_download_is_checked_and_made_once(tmp_path: Path, server: str) -> None:
    path = download_checkpoint(checkpoint(f"{server}/x.pt"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert download_checkpoint(checkpoint(f"{server}/x.pt"), tmp_path) == path
    assert len(Server.ranges) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, server: str) -> None:
    with pytest.raises(UserError, match="run the command again to resume"):
        download_checkpoint(checkpoint(f"{server}/broken/x.pt"), tmp_path)
    arrived = (tmp_path / "x.pt.part").stat().st_size
    assert 0 < arrived < len(CONTENT)
    assert download_checkpoint(checkpoint(f"{server}/broken/x.pt"), tmp_path).read_bytes() == CONTENT
    assert Server.ranges == ["bytes=0-", f"bytes={arrived}-"]


def test_a_damaged_download_is_removed(tmp_path: Path, server: str) -> None:
    with pytest.raises(UserError, match="SHA-256 differs"):
        download_checkpoint(replace(checkpoint(f"{server}/x.pt"), sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_connection_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be fetched"):
        download_checkpoint(checkpoint("http://127.0.0.1:9/x.pt"), tmp_path)


def test_the_variable_says_where_checkpoints_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert checkpoint_folder() == tmp_path
    (tmp_path / "sam_vit_b_01ec64.pth").touch()
    assert find_checkpoint("sam", "vit_b") == tmp_path / "sam_vit_b_01ec64.pth"


def test_a_missing_checkpoint_shows_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(UserError) as error:
        find_checkpoint("sam2", "large")
    assert "nnUNetv2_supervoxel_download_checkpoints --sam2 large" in str(error.value)
    assert "try the pipeline with the config 'tiny'" in str(error.value)
    assert "sam2_checkpoint" in str(error.value)
    with pytest.raises(UserError, match=r"no file .*nowhere\.pt.*vit_h, vit_l, vit_b, bundled"):
        find_checkpoint("sam", str(tmp_path / "nowhere.pt"))


def test_a_copy_that_comes_without_the_tiny_checkpoints_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUNDLED_FILES, "sam", "left_out.safetensors")
    with pytest.raises(UserError, match=r"sam1_checkpoint: .* without the tiny checkpoints.*--with tiny_checkpoints"):
        find_checkpoint("sam", "bundled")
