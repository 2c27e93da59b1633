from pathlib import Path

import h5py
import pytest

from skyfold.errors import FileError
from skyfold.inputs import require_data, split_part


@pytest.mark.parametrize(
    ("source", "file", "part"),
    [
        ("counts.fits", "counts.fits", None),
        ("counts.fits[SCI]", "counts.fits", "SCI"),
        ("a[1]/b.fits[ 2 ]", "a[1]/b.fits", "2"),
        ("here[1].fits", "here[1].fits", None),
        ("exists[1]", "exists[1]", None),
        ("exists[1][2]", "exists[1]", "2"),
    ],
)
def test_part_of_a_file(tmp_path, source, file, part):
    (tmp_path / "exists[1]").write_text("")
    assert split_part(source, tmp_path) == (tmp_path / file, part)


def test_absolute_and_home_names_do_not_start_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert split_part("/x/y[1]", tmp_path / "run") == (Path("/x/y"), "1")
    assert split_part("~/y", tmp_path / "run") == (tmp_path / "y", None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html>\n<html>", r"is an HTML page \(first line: <!DOCTYPE html>\)"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "is damaged and cannot be opened"),
    ],
)
def test_what_is_no_data_is_named(tmp_path, content, says):
    path = tmp_path / "counts.fits"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"counts\.fits {says}"):
        require_data(path)


def test_whole_hdf5_passes_and_half_of_it_does_not(tmp_path):
    path = tmp_path / "counts.h5"
    with h5py.File(path, "w") as file:
        file["counts"] = [1.0] * 1000
    require_data(path)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FileError, match=f"is cut off: 3000 of {size} bytes"):
        require_data(path)
