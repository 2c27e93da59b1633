"""Files are recognised by what they hold; foreign ones are left alone."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pytest
from astropy.io import fits

from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.recognise import KINDS, is_cosi, kind_of
from skyfold_cosi.response_writing import write_response

KNOWN = {
    "20280301_first_10sec.ori": "orientation",
    "GalacticScan.inc1.id1.crab10sec.extracted.testsample.tra.gz": "unbinned",
    "unbinned_data_MEGAlib_calc.hdf5": "unbinned",
    "all_sky_image_model_test_nside1.hdf5": "sky",
    "ccm_time_test.hdf5": "conversion",
    "ccm_scatt_use_averaged_pointing_True_test.hdf5": "conversion",
    "exposure_table_test_nside1_ring.fits": "exposure",
    "inputs_crab.yaml": "inputs",
    "test_event_histogram_galacticCDS.hdf5": "binned",
    "test_event_histogram_localCDS_scatt.h5": "binned",
    "test_full_detector_response.h5": "detector response",
    "test_polarization_response_dense.h5": "detector response",
    "test_precomputed_response_rebuilt.h5": "galactic response",
}
FOREIGN = ("README.md", "ref_cases.json", "imagedeconvolution_parfile_test.yml")


@pytest.mark.parametrize(("name", "kind"), [*KNOWN.items(), *((name, None) for name in FOREIGN)])
def test_files_of_the_collaboration(shared_data, name, kind) -> None:
    assert kind_of(shared_data / "cosi" / name) == kind
    assert is_cosi(shared_data / "cosi" / name) == (kind is not None)
    assert kind is None or kind in KINDS


def test_names_do_not_matter(shared_data, tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes((shared_data / "cosi" / "ccm_time_test.hdf5").read_bytes())
    assert kind_of(tmp_path / "a.txt") == "conversion"
    table = (shared_data / "cosi" / "exposure_table_test_nside1_ring.fits").read_bytes()
    (tmp_path / "b").write_bytes(gzip.compress(table))
    assert kind_of(tmp_path / "b") == "exposure"


def test_text_responses_and_events(tmp_path) -> None:
    head = 'TS 5\nAN "Initial energy [keV]"\nAT 1D BinEdges\nAD 1 2\n'
    (tmp_path / "x").write_text(head)
    (tmp_path / "y").write_bytes(gzip.compress(head.encode()))
    assert kind_of(tmp_path / "x") == kind_of(tmp_path / "y") == "detector response"
    names = ("Energies", "TimeTags", "Phi")
    columns = [fits.Column(name, "D", array=np.ones(2)) for name in names]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "events.fits.gz")
    assert kind_of(tmp_path / "events.fits.gz") == "unbinned"


def test_responses_that_were_written(tmp_path) -> None:
    axes = (
        Axis.healpix("NuLambda", 1, "spacecraftframe"),
        *(Axis(label, np.array([1.0, 2.0])) for label in ("Ei", "Em", "Phi")),
        Axis.healpix("PsiChi", 1, "spacecraftframe"),
    )
    whole = np.ones(tuple(axis.size for axis in axes))
    for layout in ("galactic", "dense", "sparse", "counts"):  # the frame decides, not the layout
        write_response(tmp_path / "r.h5", axes, whole, layout, area=np.ones(1))
        assert kind_of(tmp_path / "r.h5") == "detector response"
    assert Histogram(axes, whole).labels == ("NuLambda", "Ei", "Em", "Phi", "PsiChi")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 5000,
        b"\x89HDF\r\n\x1a\n" + b"\x00" * 50,
        b"SIMPLE  =                    T" + b" " * 50,
        b"\x1f\x8b\x08\x00" + b"x" * 50,
        "λ".encode() * 3000,
        b"SE of the country\nID card\n",
    ],
)
def test_foreign_and_damaged_files_are_none(tmp_path, content) -> None:
    (tmp_path / "x").write_bytes(content)
    assert kind_of(tmp_path / "x") is None


def test_no_file_and_foreign_formats_are_none(tmp_path) -> None:
    assert kind_of(tmp_path) is None
    assert kind_of(tmp_path / "nothing") is None
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["hist"] = h5py.ExternalLink("secret.h5", "/")
        file["other/axes/0"] = np.arange(3.0)
        file["other/contents"] = np.ones(2)
    assert kind_of(tmp_path / "x.h5") is None
    fits.ImageHDU(np.ones((3, 3))).writeto(tmp_path / "image.fits")
    assert kind_of(tmp_path / "image.fits") is None
