"""Data sets by name, against a server on this machine."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from skyfold import datasets
from skyfold.datasets import DataFile, DataSet
from skyfold.errors import FileError

CONTENT = hashlib.shake_256(b"photons").digest(200_000)
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n"


class Server(ThreadingHTTPServer):
    """Serves `CONTENT` in the manner that the path asks for, and notes what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        manner = self.path.split("/")[1]
        wanted = self.headers["Range"]
        self.server.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body, announced = CONTENT, None
        if manner == "missing":
            return self.send_error(404)
        if manner == "page":
            body, start = PAGE, 0
        elif manner == "norange":
            start = 0
        elif manner == "shorter":
            body = CONTENT[:1000]
        elif manner == "broken" and not start:
            body, announced = CONTENT[:150_000], len(CONTENT)
        if start and start >= len(body):
            return self.send_error(416)
        body = body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(announced or len(body)))
        if manner == "packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the data set `toy`; blank and colon in the path must not matter."""
    root = tmp_path / "my data: ∆"
    monkeypatch.setenv("SKYFOLD_DATA", str(root))
    return root / "toy"


def toy(url: str, **changes: object) -> DataSet:
    entry = {
        "name": "counts.fits.gz",
        "url": url,
        "checksum": hashlib.sha256(CONTENT).hexdigest(),
        "size": len(CONTENT),
    }
    return DataSet("A toy.", (DataFile(**(entry | changes)),), "CC0", "this test")  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_download_lands_verified_and_is_not_repeated(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy(f"{server.url}/good/counts.fits.gz")
    assert datasets.locate("toy", data) is None
    assert not datasets.present("toy", data)
    assert datasets.verify("toy", data) == [("counts.fits.gz", "missing")]

    (path,) = datasets.fetch("toy", data)

    assert path == folder / "counts.fits.gz"
    assert path.read_bytes() == CONTENT
    assert datasets.present("toy", data)
    assert names(folder) == {"counts.fits.gz"}
    assert datasets.locate("toy", data) == {"counts.fits.gz": path}
    assert datasets.verify("toy", data) == [("counts.fits.gz", "ok")]
    said = capsys.readouterr()
    assert "200.0 kB" in said.err
    assert str(folder) in said.err
    assert said.out == ""

    datasets.fetch("toy", data)
    assert len(server.asked) == 1


def test_no_progress_says_nothing(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.fetch("toy", toy(f"{server.url}/good/f"), progress=False)
    assert capsys.readouterr() == ("", "")


def test_packed_by_the_server_is_kept_as_it_is(server: Server) -> None:
    (path,) = datasets.fetch("toy", toy(f"{server.url}/packed/f"))
    assert path.read_bytes() == CONTENT


def test_broken_connection_is_resumed_where_it_stopped(server: Server, folder: Path) -> None:
    data = toy(f"{server.url}/broken/f")
    with pytest.raises(FileError, match="failed") as caught:
        datasets.fetch("toy", data)
    assert data.files[0].url in str(caught.value)
    part = folder / "counts.fits.gz.part"
    assert str(part) in str(caught.value)
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert datasets.verify("toy", data) == [("counts.fits.gz", "missing")]

    (path,) = datasets.fetch("toy", data)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, f"bytes={kept}-"]
    assert names(folder) == {"counts.fits.gz"}


@pytest.mark.parametrize(
    ("manner", "part"),
    [
        pytest.param("norange", CONTENT[:1000], id="server cannot resume"),
        pytest.param("good", CONTENT + b"more", id="part is too long"),
        pytest.param("good", CONTENT, id="part is whole"),
    ],
)
def test_any_part_ends_in_the_right_file(
    server: Server, folder: Path, manner: str, part: bytes
) -> None:
    folder.mkdir(parents=True)
    (folder / "counts.fits.gz.part").write_bytes(part)
    (path,) = datasets.fetch("toy", toy(f"{server.url}/{manner}/f"))
    assert path.read_bytes() == CONTENT
    assert names(folder) == {"counts.fits.gz"}


def test_part_of_another_file_is_found_out_and_the_next_download_is_right(
    server: Server, folder: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / "counts.fits.gz.part").write_bytes(b"x" * 1000)
    data = toy(f"{server.url}/good/f")
    with pytest.raises(FileError, match="SHA-256"):
        datasets.fetch("toy", data)
    assert names(folder) == {"counts.fits.gz.bad"}
    (path,) = datasets.fetch("toy", data)
    assert path.read_bytes() == CONTENT


def test_size_known_only_roughly_is_settled_by_the_checksum(server: Server, folder: Path) -> None:
    md5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    about: dict[str, object] = {"checksum": md5, "size": 195_000, "rounded": True}
    data = toy(f"{server.url}/broken/f", **about)
    with pytest.raises(FileError, match="failed"):
        datasets.fetch("toy", data)
    kept = (folder / "counts.fits.gz.part").stat().st_size
    (path,) = datasets.fetch("toy", data)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, f"bytes={kept}-"]

    path.replace(folder / "counts.fits.gz.part")  # broken off between download and move
    (path,) = datasets.fetch("toy", data)
    assert path.read_bytes() == CONTENT

    path.write_bytes(CONTENT[:-1] + b"0")
    ((_, state),) = datasets.verify("toy", data)
    assert "MD5" in state
    path.write_bytes(CONTENT * 2)
    ((_, state),) = datasets.verify("toy", data)
    assert "too long" in state


def test_no_published_checksum_is_said(server: Server) -> None:
    data = toy(f"{server.url}/good/f", checksum=None)
    (path,) = datasets.fetch("toy", data)
    assert path.read_bytes() == CONTENT
    assert "not published" in datasets.info(data)


def test_wrong_checksum_is_refused_and_kept_aside(server: Server, folder: Path) -> None:
    expected = "0" * 64
    with pytest.raises(FileError) as caught:
        datasets.fetch("toy", toy(f"{server.url}/good/f", checksum=expected))
    message = str(caught.value)
    assert expected in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert str(folder / "counts.fits.gz.bad") in message
    assert names(folder) == {"counts.fits.gz.bad"}
    assert caught.value.exit_code == 7


def test_longer_than_registered_is_not_downloaded_to_its_end(server: Server, folder: Path) -> None:
    with pytest.raises(FileError, match="too long"):
        datasets.fetch("toy", toy(f"{server.url}/good/f", size=10))
    assert (folder / "counts.fits.gz.bad").stat().st_size < len(CONTENT)


def test_shorter_than_registered_is_cut_off(server: Server, folder: Path) -> None:
    data = toy(f"{server.url}/shorter/f")
    for _ in range(2):  # the second time the server refuses the range
        with pytest.raises(FileError, match="cut off, 1000 of 200000 bytes"):
            datasets.fetch("toy", data)
    assert names(folder) == {"counts.fits.gz.part"}


@pytest.mark.parametrize("part", [b"", CONTENT[:1000]])
def test_html_page_is_recognised_and_not_stored(server: Server, folder: Path, part: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "counts.fits.gz.part").write_bytes(part)
    with pytest.raises(FileError, match=r"HTML page.*<!DOCTYPE html>"):
        datasets.fetch("toy", toy(f"{server.url}/page/f"))
    assert (folder / "counts.fits.gz.part").read_bytes() == part


def test_absent_from_the_server(server: Server) -> None:
    data = toy(f"{server.url}/missing/f")
    with pytest.raises(FileError, match="404") as caught:
        datasets.fetch("toy", data)
    assert data.files[0].url in str(caught.value)


def test_no_network_names_the_address_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/f"
    with pytest.raises(FileError) as caught:
        datasets.fetch("toy", toy(url))
    for hint in (url, "SKYFOLD_DATA", str(folder / "counts.fits.gz")):
        assert hint in str(caught.value)


def test_unusable_address_is_a_file_error() -> None:
    with pytest.raises(FileError, match="ftp://nowhere/f"):
        datasets.fetch("toy", toy("ftp://nowhere/f"))


def test_folder_that_cannot_be_written_is_told_before_the_download(
    server: Server, folder: Path
) -> None:
    folder.parent.write_text("a file where the folder should be")
    with pytest.raises(FileError, match=r"cannot write into .*SKYFOLD_DATA"):
        datasets.fetch("toy", toy(f"{server.url}/good/f"))
    assert server.asked == []


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="this user may write into read-only folders"
)
def test_read_only_folder_is_told_before_the_download(server: Server, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    with pytest.raises(FileError, match="cannot write into"):
        datasets.fetch("toy", toy(f"{server.url}/good/f"))
    assert server.asked == []


def test_full_disk_is_told_before_the_download(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FileError, match=r"1\.0 kB free, 200\.0 kB are needed"):
        datasets.fetch("toy", toy(f"{server.url}/good/f"))
    assert server.asked == []


def test_disk_that_fills_up_leaves_a_part(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match="disk full"):
            datasets.fetch("toy", toy(f"{server.url}/good/f"))
    assert names(folder) == {"counts.fits.gz.part"}


def test_local_copy_needs_no_network(folder: Path) -> None:
    data = toy("http://127.0.0.1:1/never-asked")
    folder.mkdir(parents=True)
    (folder / "counts.fits.gz").write_bytes(CONTENT)
    assert datasets.fetch("toy", data) == [folder / "counts.fits.gz"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (CONTENT[:-1], "cut off, 199999 of 200000 bytes"),
        (CONTENT + b"0", "too long"),
        (CONTENT[:-1] + b"0", "SHA-256"),
        (PAGE, "an HTML page, not data (first line: <!DOCTYPE html>)"),
    ],
)
def test_damaged_copy_is_told_and_replaced_by_a_good_one(
    server: Server, folder: Path, content: bytes, complaint: str
) -> None:
    data = toy(f"{server.url}/good/f")
    folder.mkdir(parents=True)
    (folder / "counts.fits.gz").write_bytes(content)

    ((name, state),) = datasets.verify("toy", data)
    assert name == "counts.fits.gz"
    assert state.startswith("damaged: ")
    assert complaint in state
    assert datasets.locate("toy", data) is None

    (path,) = datasets.fetch("toy", data)
    assert path.read_bytes() == CONTENT
    assert (folder / "counts.fits.gz.bad").read_bytes() == content


def test_where_is_the_cache_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYFOLD_DATA", "~/survey")
    assert datasets.where() == Path.home() / "survey"
    monkeypatch.delenv("SKYFOLD_DATA")
    assert "skyfold" in datasets.where().parts


def test_info_tells_files_sizes_licence_and_source() -> None:
    text = datasets.info(toy("https://example.org/f", size=24_717))
    for part in (
        "A toy.",
        "counts.fits.gz",
        "24.7 kB",
        "CC0",
        "this test",
        "https://example.org/f",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_999, "1.0 MB")],
)
def test_readable_size(size: int, text: str) -> None:
    assert datasets.readable_size(size) == text
