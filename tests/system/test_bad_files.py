"""Files that are cut off, absurd, or no data at all (codes of the list of faults)."""

import gzip
import hashlib
import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest
from astropy.io import fits

RUN = "run counts.fits --psf psf.fits --iterations 2 -o out"
CHECK = "check counts.fits --psf psf.fits"


@pytest.fixture(autouse=True)
def _observation(files):
    files.observation()


def cut(path, size):
    """Keep only the first bytes of a file."""
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("name", "size", "whole"),
    [("counts.fits", 5000, 8640), ("counts.fits", 3000, 8640), ("psf.fits", 3000, 5760)],
    ids=["F01-counts-5000", "F01-counts-3000", "F01-psf-3000"],
)
def test_truncated_fits(skyfold, files, name, size, whole):
    cut(files.folder / name, size)
    says = (f"{name} is cut off: {size} of {whole} bytes", "skyfold data verify")
    skyfold.refuses(7, RUN, says=says)


def test_F01_cut_off_in_the_header(skyfold, files):
    cut(files.folder / "counts.fits", 1000)
    skyfold.refuses(7, RUN, says=("counts.fits is damaged",))


def test_F01_padding_alone_is_missing(skyfold, files):
    cut(files.folder / "psf.fits", 2880 + 81 * 8)
    skyfold.accepts(CHECK)


def test_F01_truncated_gzip(skyfold, files):
    path = files.folder / "counts.fits"
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    skyfold.refuses(7, RUN, says=("counts.fits is cut off", "Download it again"))


def test_F02_truncated_hdf5(skyfold, files):
    with h5py.File(files.folder / "counts.h5", "w") as file:
        file["counts"] = np.ones(1000)
    cut(files.folder / "counts.h5", 2000)
    says = ("counts.h5 is cut off: 2000 of ", "Download it again")
    skyfold.refuses(7, RUN.replace("counts.fits", "counts.h5"), says=says)


def test_F02_result_of_hdf5_cut_off(skyfold, files):
    """The only HDF5 that this instrument reads is a result of its own, for the report."""
    (files.folder / "out").mkdir()
    files.text("out/manifest.json", "{}")
    with h5py.File(files.folder / "out" / "result.h5", "w") as file:
        file["MODEL/sky"] = np.ones(1000)
    cut(files.folder / "out" / "result.h5", 2000)
    skyfold.refuses(7, "report out", says=("result.h5", "damaged"))


@pytest.mark.parametrize("name", ["counts.fits", "psf.fits"])
def test_F03_web_page(skyfold, files, name):
    files.text(name, "<html><head><title>404 Not Found</title></head></html>\n")
    says = (name, "is an HTML page (first line: <html><head><title>404", "download failed")
    skyfold.refuses(7, RUN, says=says)


def test_F03_other_things_that_are_no_data(skyfold, files):
    files.text("counts.fits", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    skyfold.refuses(7, RUN, says=("counts.fits", "Git LFS pointer", "git lfs pull"))
    files.text("counts.fits", "")
    skyfold.refuses(7, RUN, says=("counts.fits", "empty"))
    (files.folder / "counts.fits").unlink()
    (files.folder / "counts.fits").mkdir()
    skyfold.refuses(7, RUN, says=("counts.fits is a folder",))


def test_F03_photographs_that_are_no_counts(skyfold, files):
    (files.folder / "counts.fits").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    skyfold.refuses(7, RUN, says=("counts.fits is a JPEG", "linear 16-bit TIFF"))


def test_F04_gzip_under_any_name(skyfold, files):
    for name in ("counts", "psf"):
        path = files.folder / f"{name}.fits"
        path.write_bytes(gzip.compress(path.read_bytes()))
    skyfold.accepts(CHECK)
    shutil.move(files.folder / "counts.fits", files.folder / "counts")
    shutil.move(files.folder / "psf.fits", files.folder / "psf.dat")
    skyfold.accepts("check counts --psf psf.dat")


def test_F05_absurd_header(skyfold, files):
    cards = fits.Header()
    cards["SIMPLE"], cards["BITPIX"], cards["NAXIS"] = True, -64, 2
    cards["NAXIS1"] = cards["NAXIS2"] = 16384
    path = files.folder / "counts.fits"
    with gzip.open(path, "wb") as file:
        file.write(cards.tostring().encode())
        for _ in range(300):
            file.write(bytes(1 << 20))
    says = ("counts.fits", "header announces 16384x16384x8", "2.1 GB", "--allow-large")
    skyfold.refuses(3, RUN, says=says)


def test_F05_negative_axis(skyfold, files):
    path = files.folder / "counts.fits"
    path.write_bytes(
        path.read_bytes().replace(
            b"NAXIS2  =                   32", b"NAXIS2  =" + b"-32".rjust(21)
        )
    )
    skyfold.refuses(7, RUN, says=("counts.fits is damaged: HDU 0 has an axis of negative length",))


def test_F05_gzip_bomb(skyfold, files):
    path = files.folder / "counts.fits"
    with gzip.open(path, "wb") as file:
        file.write(fits.PrimaryHDU(files.sky()).header.tostring().encode())
        for _ in range(300):
            file.write(bytes(1 << 20))
    skyfold.refuses(3, RUN, says=("counts.fits", "--allow-large"))


def test_F07_objects_are_not_unpickled(skyfold, files):
    np.save(files.folder / "counts.npy", np.array([{"a": 1}, None], dtype=object))
    says = ("counts.npy", "object")
    skyfold.refuses(3, "run counts.npy --psf psf.fits -o out", says=says)
    np.savez(files.folder / "counts.npz", counts=np.array([{"a": 1}], dtype=object))
    skyfold.refuses(3, "run counts.npz --psf psf.fits -o out", says=("counts.npz", "object"))


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


PLUGIN = """\
from skyfold import hookimpl
from skyfold.datasets import DataFile, DataSet

@hookimpl
def skyfold_register(registry):
    file = DataFile("counts.fits", {url!r}, {sha256!r}, {size})
    registry.datasets.add("toy", DataSet("a toy", (file,), "CC0-1.0", "here"))
"""


def test_F08_checksum_mismatch(skyfold, files, server, plugin):
    served, url = server
    good = (files.folder / "counts.fits").read_bytes()
    sha256 = hashlib.sha256(good).hexdigest()
    plugin("toy", PLUGIN.format(url=f"{url}counts.fits", sha256=sha256, size=len(good)))
    store = files.folder / "store"
    skyfold.env["SKYFOLD_DATA"] = str(store)
    (served / "counts.fits").write_bytes(good[:-1] + b"?")
    ended = skyfold("data get toy")
    assert ended.code == 7, ended
    wrong = hashlib.sha256(good[:-1] + b"?").hexdigest()
    for text in ("counts.fits", sha256[:12], wrong[:12]):
        assert text in ended.err
    assert not list(store.rglob("counts.fits"))
    assert len(list(store.rglob("*.bad"))) == 1
    (served / "counts.fits").write_bytes(good)
    skyfold.accepts("data get toy", says=(str(store),))
    skyfold.accepts("data verify toy", says=("ok",))


@pytest.mark.parametrize("name", ["Überraschung α 12:30 C:x [1]"])
def test_F09_any_path(skyfold, files, name):
    folder = files.folder / name
    folder.mkdir()
    for file in ("counts", "psf"):
        shutil.copy(files.folder / f"{file}.fits", folder / f"{name} {file}.fits")
    counts, psf = folder / f"{name} counts.fits", folder / f"{name} psf.fits"
    skyfold.accepts("run", counts, "--psf", psf, "--iterations", "2", "-o", folder / "out")
    files.text(
        f"{name}/{name}.yaml",
        f'data: {{counts: "{counts.name}", psf: "{psf.name}"}}\niterations: 2\n',
    )
    skyfold.accepts("run", folder / f"{name}.yaml", "-o", folder / "again")
    skyfold.accepts("resume", folder / "again", "--iterations", "3")
    one, two = (fits.getdata(folder / n / "result.fits") for n in ("out", "again"))
    assert one.shape == two.shape


def test_F13_output_exists(skyfold, files):
    skyfold.accepts(RUN)
    before = (files.folder / "out" / "result.fits").read_bytes()
    says = ("run folder out exists", "--overwrite", "another folder", "skyfold resume out")
    skyfold.refuses(7, RUN, says=says)
    skyfold.accepts(RUN.replace("2", "4") + " --overwrite")
    assert (files.folder / "out" / "result.fits").read_bytes() != before
    notes = json.loads((files.folder / "out" / "manifest.json").read_text())
    assert notes["results"]["iterations"] == 4


def test_F13_results_survive_a_refused_run(skyfold, files):
    skyfold.accepts(RUN)
    files.psf(np.zeros((9, 9)))
    skyfold.refuses(3, f"{RUN} --overwrite", says=("PSF is zero everywhere",))


def test_F13_inputs_are_not_replaced_by_results(skyfold, files):
    skyfold.accepts(RUN)
    says = ("result.fits is the counts of this run", "another folder")
    skyfold.refuses(2, "run out/result.fits --psf psf.fits -o out --overwrite", says=says)


@pytest.mark.parametrize(
    ("line", "name"),
    [("config init run.yaml", "run.yaml"), ("plugins new toy", "skyfold-toy")],
    ids=["F13-config", "F13-plugin"],
)
def test_nothing_of_the_user_is_overwritten(skyfold, line, name):
    skyfold.accepts(line)
    skyfold.refuses(7, line, says=(name, "exists"))


BROKEN = {
    "import": ("import a_module_that_nobody_has\n", "ModuleNotFoundError"),
    "syntax": ("def (:\n", "SyntaxError"),
    "exit": ("raise SystemExit(3)\n", "SystemExit"),
    "register": (
        "from skyfold import hookimpl\n@hookimpl\ndef skyfold_register(registry):\n    1 / 0\n",
        "ZeroDivisionError",
    ),
    "hook": (
        "from skyfold import hookimpl\n@hookimpl\ndef skyfold_register(wrong): pass\n",
        "wrong",
    ),
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: f"F17-{kind}")
def test_plugin_that_crashes(skyfold, plugin, kind):
    code, error = BROKEN[kind]
    plugin("mytel", code)
    skyfold.accepts("plugins list", says=("mytel", "set aside", "BROKEN", error, "image"))
    if kind == "import":
        skyfold.accepts(CHECK, says=("mytel", "set aside", error, "9536 counts"))
        skyfold.accepts("plugins info mytel", says=("mytel is BROKEN", "a_module_that_nobody_has"))
        skyfold.accepts("doctor", says=("mytel", "BROKEN"))


def test_F17_plugin_that_crashes_when_it_looks_at_a_file(skyfold, plugin):
    code = "from skyfold import hookimpl\n@hookimpl\ndef skyfold_identify(path):\n    1 / 0\n"
    plugin("mytel", code)
    skyfold.accepts(CHECK, says=("plugin mytel failed to look at", "ZeroDivisionError"))
