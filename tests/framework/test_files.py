import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from skyfold import files
from skyfold.errors import FileError


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "result.txt"
    files.write_text(path, "old")

    def fail():
        with files.replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_disk_full_is_said_in_words(tmp_path):
    def fail():
        with files.replacing(tmp_path / "result.fits") as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match=r"disk full: result\.fits.* MB free"):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(FileError, match="out"):
        files.require_writable(tmp_path / "out" / "deeper")


def test_too_little_space_is_said_beforehand(tmp_path):
    with pytest.raises(FileError, match=r"MB are needed, only .* MB are free"):
        files.require_writable(tmp_path / "out", space=10**18)


def test_two_processes_do_not_share_a_folder(tmp_path):
    with files.locked(tmp_path):
        code = (
            "from pathlib import Path; from skyfold import files; "
            f"files.locked(Path({str(tmp_path)!r})).__enter__()"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.returncode != 0
    assert "is in use by" in other.stderr
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("left", ["", "garbage", "dead"])
def test_a_lock_left_behind_does_not_count(tmp_path, left):
    if left == "dead":
        gone = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
        )
        left = json.dumps({"pid": int(gone.stdout), "host": socket.gethostname()})
    (tmp_path / ".lock").write_text(left)
    with files.locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_lock_of_another_host_counts(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(FileError, match="elsewhere"), files.locked(tmp_path):
        pass


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")
