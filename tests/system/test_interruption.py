"""Runs that are interrupted, killed, crowded or starved of space end as if nothing had happened."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

LAPS = 3000
RUN = f"run counts.fits --psf psf.fits --iterations {LAPS} --checkpoint '30 ms' -q -o out"
PRODUCTS = ("result.fits", "trace.ecsv", "report.html", "manifest.json", "log.txt")


def load(folder):
    """Return all images of a result, and the trace without its times."""
    with fits.open(folder / "result.fits", memmap=False) as hdus:
        images = {hdu.name: hdu.data.copy() for hdu in hdus if hdu.is_image}
    trace = Table.read(folder / "trace.ecsv")
    trace.remove_column("seconds")
    return images, trace


def require_equal(folder, reference):
    """Require that a run ended bit by bit like another."""
    assert {name for name in PRODUCTS if (folder / name).exists()} == set(PRODUCTS)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    (images, trace), (expected, expected_trace) = load(folder), reference
    assert images.keys() == expected.keys()
    for name, image in expected.items():
        np.testing.assert_array_equal(images[name], image, err_msg=name)
    assert trace.colnames == expected_trace.colnames
    for name in trace.colnames:
        np.testing.assert_array_equal(trace[name], expected_trace[name], err_msg=name)


def require_readable(folder):
    """Require that every file is whole or absent; files in the making begin with a dot."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.name.startswith("."):
            continue
        if path.suffix == ".fits":
            with fits.open(path, checksum=True, memmap=False) as hdus:
                hdus.verify("exception")
                assert all(hdu.data is not None for hdu in hdus)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path) as stored:
                json.loads(stored["structure"].tobytes())
                assert all(stored[name].size for name in stored)
        elif path.suffix == ".ecsv":
            assert len(Table.read(path))
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            assert path.name == "log.txt", path
            path.read_text()


def until(condition, process=None):
    """Wait for something to happen."""
    end = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def uninterrupted(workplace, tmp_path_factory):
    """Return what the run gives if nobody disturbs it."""
    skyfold, files = workplace(tmp_path_factory.mktemp("uninterrupted"))
    files.observation()
    began = time.monotonic()
    skyfold.accepts(RUN)
    return load(files.folder / "out"), time.monotonic() - began


@pytest.fixture
def reference(uninterrupted):
    return uninterrupted[0]


@pytest.fixture
def out(files):
    """Return the run folder, beside good files."""
    files.observation()
    return files.folder / "out"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["F15-SIGINT", "F15-SIGTERM"])
def test_interrupted_runs_are_resumed(skyfold, out, reference, sent):
    process = skyfold.start(RUN)
    until((out / "checkpoint.npz").exists, process)
    process.send_signal(sent)
    _, err = process.communicate()
    assert process.returncode == 5, err
    assert f"interrupted by {sent.name} after iteration" in err
    assert "go on with: skyfold resume out" in err
    assert "Traceback" not in err
    require_readable(out)
    _, trace = load(out)
    assert 0 < trace["iteration"][-1] < LAPS
    notes = json.loads((out / "manifest.json").read_text())
    assert notes["status"] == "interrupted"
    assert notes["results"]["iterations"] == trace["iteration"][-1]
    skyfold.accepts("resume out", says=(f"all {LAPS} iterations done",))
    require_equal(out, reference)


def test_F15_a_second_signal_ends_at_once(skyfold, out, reference):
    process = skyfold.start(RUN)
    until((out / "checkpoint.npz").exists, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 5, err
    assert "Traceback" not in err
    require_readable(out)
    skyfold.accepts("resume out -q")
    require_equal(out, reference)


def kill(skyfold, out, reference, delay, begun):
    """Kill a run, look at what is left, and go on."""
    process = skyfold.start(RUN)
    if begun:
        until(lambda: (out / "manifest.json").exists() or process.poll() is not None)
    time.sleep(delay)
    process.kill()
    process.communicate()
    require_readable(out)
    if (out / "manifest.json").exists():
        skyfold.accepts("resume out -q")
    else:
        skyfold.accepts(RUN)
    require_equal(out, reference)
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "number",
    [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 3],
    ids=lambda n: f"F12-{n}",
)
def test_killed_runs_are_resumed(skyfold, out, uninterrupted, number):
    """Half of them at any moment, half while there is something to write."""
    reference, duration = uninterrupted
    moment = np.random.default_rng(number).random()
    kill(skyfold, out, reference, moment * duration * (0.6 if number % 2 else 1), number % 2)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4, 54), ids=lambda n: f"F12-{n}")
def test_50_killed_runs_are_resumed(skyfold, out, uninterrupted, number):
    reference, duration = uninterrupted
    moment = np.random.default_rng(number).random()
    kill(skyfold, out, reference, moment * duration * (0.6 if number % 2 else 1), number % 2)


def test_F12_leftovers_are_cleaned_by_resume(skyfold, out):
    skyfold.accepts(RUN.replace(str(LAPS), "2"))
    for name in (".result.fits.partial", ".checkpoint.npz.partial", ".probe.partial"):
        (out / name).write_text("half")
    skyfold.accepts("resume out -q")
    assert not list(out.glob(".*"))


def test_F12_damaged_checkpoint_is_named(skyfold, out):
    skyfold.accepts(RUN.replace(str(LAPS), "2"))
    stored = (out / "checkpoint.npz").read_bytes()
    (out / "checkpoint.npz").write_bytes(stored[: len(stored) // 2])
    skyfold.refuses(7, "resume out", says=("checkpoint.npz is damaged",))
    (out / "checkpoint.npz").write_bytes(stored)
    (out / "manifest.json").write_text("{")
    skyfold.refuses(7, "resume out", says=("manifest.json is damaged",))


def test_F12_other_inputs_are_not_resumed(skyfold, files, out):
    skyfold.accepts(RUN.replace(str(LAPS), "2"))
    files.counts(files.sky() + 1)
    skyfold.refuses(3, "resume out", says=("counts.fits is not what it was", "SHA-256"))
    (files.folder / "counts.fits").unlink()
    skyfold.refuses(7, "resume out", says=("counts.fits",))


def test_F14_two_processes_in_one_folder(skyfold, out, reference):
    process = skyfold.start(RUN.replace(str(LAPS), "1000000000"))
    until((out / "checkpoint.npz").exists, process)
    refusals = [skyfold(line) for line in ("resume out", f"{RUN} --overwrite", RUN)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 5, err
    assert [ended.code for ended in refusals] == [7, 7, 7], refusals
    for ended in refusals[:2]:
        assert f"out is in use by process {process.pid} on {socket.gethostname()}" in ended.err
    assert "run folder out exists" in refusals[2].err
    _, trace = load(out)
    np.testing.assert_array_equal(trace["iteration"], np.arange(len(trace)))
    laps = min(len(trace), LAPS)
    np.testing.assert_array_equal(
        trace["log_likelihood"][:laps], reference[1]["log_likelihood"][:laps]
    )


def test_F14_lock_of_a_dead_process(skyfold, out):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    out.mkdir()
    lock = {"pid": dead.pid, "host": socket.gethostname()}
    (out / ".lock").write_text(json.dumps(lock))
    skyfold.accepts(RUN.replace(str(LAPS), "2"))
    assert not (out / ".lock").exists()


def test_F14_lock_of_another_machine(skyfold, out):
    out.mkdir()
    (out / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    says = ("process 1 on elsewhere", "remove", ".lock")
    skyfold.refuses(7, RUN, says=says)


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("counts.fits", "counts.fits is a file"),
        ("counts.fits/out", "counts.fits is a file"),
    ],
    ids=["F10-file", "F10-below-a-file"],
)
def test_place_that_takes_no_folder(skyfold, out, folder, says):
    """Said before anything is read or computed."""
    ended = skyfold.refuses(7, RUN.replace("-q -o out", f"-o {folder}"), says=(says,))
    assert not ended.out


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_F10_folder_that_cannot_be_made(skyfold, out):
    skyfold.refuses(7, RUN.replace("-o out", "-o /proc/nowhere/out"), says=("/proc/nowhere",))


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind this user")
def test_F10_read_only_folder(skyfold, out):
    out.mkdir(mode=0o555)
    skyfold.refuses(7, RUN, says=("out", "no permission", "another folder"))


def limited(size):
    """Let no file grow beyond a size, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_F11_no_space_from_the_beginning(skyfold, out):
    line = RUN.replace("-o out", "-o new/out")
    skyfold.refuses(7, line, says=("disk full",), limit=limited(1000))


@pytest.fixture(scope="module")
def short(workplace, tmp_path_factory):
    """Return what 40 laps give."""
    skyfold, files = workplace(tmp_path_factory.mktemp("short"))
    files.observation()
    skyfold.accepts(RUN.replace(str(LAPS), "40"))
    return load(files.folder / "out")


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(12_000, marks=pytest.mark.slow),
        30_000,
        pytest.param(60_000, marks=pytest.mark.slow),
    ],
    ids=lambda n: f"F11-{n}",
)
def test_disk_full_in_the_middle(skyfold, out, short, size):
    """While checkpoint, report or result are written."""
    ended = skyfold(RUN.replace(str(LAPS), "40"), limit=limited(size))
    assert ended.code == 7, ended
    assert "disk full" in ended.err
    assert "Traceback" not in ended.err, ended.err
    require_readable(out)
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    assert "after freeing space: skyfold resume out" in ended.err
    skyfold.accepts("resume out -q")
    require_equal(out, short)


def test_F16_inputs_are_not_mapped(skyfold, out, reference):
    """A file that shrinks meanwhile, or a network that fails, does not kill the process."""
    process = skyfold.start(RUN)
    until((out / "checkpoint.npz").exists, process)
    for name in ("counts.fits", "psf.fits"):
        os.truncate(out.parent / name, 0)
    _, err = process.communicate()
    assert process.returncode == 0, err
    require_equal(out, reference)
