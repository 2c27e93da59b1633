"""Compton data as people have them (codes of the list of faults)."""

from dataclasses import replace

import h5py
import healpy
import numpy as np
import pytest
from astropy.io import fits

from skyfold_cosi import container
from skyfold_cosi.histogram import Axis, Histogram

ENERGY = np.array([100.0, 300.0, 900.0])
PHI = np.linspace(0, 180, 7)
CHECK = "check event.h5 --response psr.h5 --background b=background.h5"


def axes(**changes):
    """Return Em, Phi, PsiChi and the sky's NuLambda, Ei by label."""
    usual = {
        "NuLambda": Axis.healpix("NuLambda", 1),
        "Ei": Axis("Ei", ENERGY, "keV", "log"),
        "Em": Axis("Em", ENERGY, "keV"),
        "Phi": Axis("Phi", PHI, "deg"),
        "PsiChi": Axis.healpix("PsiChi", 1),
    }
    return {**usual, **changes}


def response(**changes):
    found = axes(**changes)
    shape = tuple(axis.size for axis in found.values())
    numbers = np.random.default_rng(1).uniform(0.5, 1.5, shape)
    return Histogram(tuple(found.values()), numbers, "cm2 s")


def counts(level=5.0, **changes):
    found = [axis for label, axis in axes(**changes).items() if label not in ("NuLambda", "Ei")]
    shape = tuple(axis.size for axis in found)
    return Histogram(tuple(found), np.random.default_rng(2).poisson(level, shape).astype(float))


@pytest.fixture
def write(tmp_path):
    def write_(name, histogram):
        container.write(tmp_path / name, histogram)
        return tmp_path / name

    write_("event.h5", counts())
    write_("psr.h5", response())
    write_("background.h5", replace(counts(), contents=np.full((2, 6, 12), 2.0)))
    return write_


def test_nothing_is_wrong(skyfold, write):
    skyfold.accepts(CHECK, says=("ok      event:", "144 bins", "ok      response: pre-computed"))
    skyfold.accepts(
        "run event.h5 --response psr.h5 --background b=background.h5 --iterations 3 -o out",
        says=("fitted    b:", "written   out/report.html"),
    )


def test_P13_bins_of_another_size(skyfold, write):
    write("event.h5", counts(Phi=Axis("Phi", np.linspace(0, 180, 10), "deg")))
    says = ("'Phi'", "9 bins of 20 deg (0 to 180)", "6 bins of 30 deg", "They must agree")
    skyfold.refuses(3, CHECK, says=says)


def test_P13_an_axis_is_missing(skyfold, write):
    write("event.h5", counts().project("Em", "PsiChi"))
    skyfold.refuses(3, f"{CHECK} --instrument cosi", says=("no axis 'Phi'", "Em, PsiChi"))


def test_P13_axes_in_another_order_are_put_right(skyfold, write):
    write("event.h5", counts().project("PsiChi", "Em", "Phi"))
    skyfold.accepts(CHECK)


def test_P14_edges_decrease(skyfold, write):
    for name in ("event.h5", "background.h5"):
        write(name, counts())
        with h5py.File(skyfold.folder / name, "r+") as file:
            file["hist/axes/0"][:] = ENERGY[::-1]
    says = ("'Em'", "900", "300 keV")
    skyfold.refuses(3, CHECK, says=says)


def test_P14_units_are_converted(skyfold, write):
    write("event.h5", counts(Em=Axis("Em", ENERGY / 1000, "MeV")))
    skyfold.accepts(CHECK, says=("MeV", "converted"))


def test_P15_bins_are_shifted(skyfold, write):
    write("event.h5", counts(Em=Axis("Em", np.array([100.0, 310.0, 900.0]), "keV")))
    skyfold.refuses(3, CHECK, says=("'Em'", "310", "300", "must agree"))


def test_P16_pixels_that_are_never_seen(skyfold, write):
    blind = response()
    blind.contents[:3] = 0
    write("psr.h5", blind)
    skyfold.accepts(CHECK, says=("3 of 12 sky pixels are never observed: kept at 0",))


def test_P17_impossible_counts(skyfold, write):
    blind, background = response(), counts()
    blind.contents[:, :, 1, 2, 3] = 0
    background.contents[:] = 1.0
    background.contents[1, 2, 3] = 0
    write("psr.h5", blind)
    write("background.h5", background)
    says = ("1 bins hold", "Em=1, Phi=2, PsiChi=3", "--mask impossible")
    skyfold.refuses(3, CHECK, says=says)
    skyfold.accepts(f"{CHECK} --mask impossible", says=("left out",))


def test_P18_half_precision(skyfold, write):
    with h5py.File(skyfold.folder / "psr.h5", "r+") as file:
        numbers = file["hist/contents"][:].astype(np.float16)
        del file["hist/contents"]
        file["hist/contents"] = numbers
    skyfold.refuses(3, CHECK, says=("float16",))


def test_P19_flow_bins(skyfold, write):
    with h5py.File(skyfold.folder / "event.h5", "r+") as file:
        numbers = np.pad(file["hist/contents"][:], 1, constant_values=7)
        del file["hist/contents"]
        file["hist/contents"] = numbers
    skyfold.accepts(CHECK, says=("under- and overflow left out", f"{counts().total:.10g} counts"))


def test_P20_unknown_layout(skyfold, write):
    with h5py.File(skyfold.folder / "psr.h5", "w") as file:
        file["DRM/CONTENTS"] = np.ones(3)
    skyfold.refuses(3, CHECK, says=("psr.h5", "DC2", "VERSION 2"))


def test_P22_more_than_memory(skyfold, write):
    says = ("streaming from disk",)
    skyfold.accepts(f"{CHECK} --memory 1e-6", says=says)


def test_G01_counts_without_background(skyfold, write):
    blind = response()
    blind.contents[:, :, 0] = 0
    write("psr.h5", blind)
    skyfold.refuses(
        3, "check event.h5 --response psr.h5", says=("neither response nor background",)
    )


def test_G02_background_as_a_rate(skyfold, write):
    write("background.h5", replace(counts(), contents=np.full((2, 6, 12), 1e-3)))
    skyfold.accepts(CHECK, says=("WARNING background", "is it a rate"))
    skyfold.refuses(3, f"{CHECK} --strict", says=("is it a rate",))


def sky(path, values, **cards):
    table = fits.BinTableHDU.from_columns([fits.Column("I", "D", array=values)])
    usual = {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "COORDSYS": "G", "NSIDE": 1}
    table.header.update({k: v for k, v in {**usual, **cards}.items() if v is not None})
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


@pytest.mark.parametrize(
    ("code", "size", "cards", "says"),
    [
        ("G06", 12, {"ORDERING": None}, "ring"),
        ("G07", 12, {"COORDSYS": "E"}, "ecliptic"),
        ("G07", 12, {"COORDSYS": "C"}, "icrs"),
        ("G08", 13, {}, "13"),
    ],
)
def test_skies_that_cannot_be_read(skyfold, write, code, size, cards, says):
    sky(skyfold.folder / "start.fits", np.ones(size), **cards)
    ended = skyfold.refuses(3, f"{CHECK} --start start.fits")
    assert says in ended.err.lower(), ended


def test_skies_of_single_pixels_and_odd_units(skyfold, write):
    columns = [fits.Column("PIXEL", "K", array=[3, 14]), fits.Column("I", "D", array=[1.0, 2.0])]
    table = fits.BinTableHDU.from_columns(columns)
    cards = {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": 1, "INDXSCHM": "EXPLICIT"}
    table.header.update(cards)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(skyfold.folder / "start.fits")
    skyfold.refuses(3, f"{CHECK} --start start.fits", says=("3 to 14", "pixels 0 to 11"))
    sky(skyfold.folder / "parrots.fits", np.ones(12), TUNIT1="parrots")
    skyfold.refuses(3, f"{CHECK} --start parrots.fits", says=("'parrots' is no unit",))


def test_backgrounds_that_cannot_be(skyfold, write):
    for number in (-2.0, np.nan):
        contents = np.full((2, 6, 12), 2.0)
        contents[1, 2, 3] = number
        write("background.h5", replace(counts(), contents=contents))
        skyfold.refuses(3, CHECK, says=("background.h5", "Em=1, Phi=2, PsiChi=3"))


def test_nothing_was_counted(skyfold, write):
    write("event.h5", counts(0.0))
    skyfold.refuses(3, "run event.h5 --response psr.h5 -o out", says=("nothing to restore",))


def test_G06_nested_maps_are_put_in_order(skyfold, write):
    sky(skyfold.folder / "mask.fits", np.arange(12.0), ORDERING="NESTED")
    skyfold.accepts(f"{CHECK} --sky-mask mask.fits")


def test_G06_the_order_may_be_said(skyfold, write):
    sky(skyfold.folder / "start.fits", np.ones(12), ORDERING=None)
    skyfold.refuses(3, f"{CHECK} --start start.fits", says=("--ordering ring or nested",))
    skyfold.accepts(f"{CHECK} --start start.fits --ordering nested")


def test_G09_unseen_pixels(skyfold, write):
    values = np.ones(12)
    values[4] = healpy.UNSEEN
    sky(skyfold.folder / "mask.fits", values)
    skyfold.accepts(f"{CHECK} --sky-mask mask.fits")


def test_G10_units_that_do_not_make_counts(skyfold, write):
    write("psr.h5", replace(response(), unit="cm2"))
    skyfold.refuses(3, CHECK, says=("cm2", "expected counts"))


PARFILE = """
model_definition:
  class: AllSkyImage
  property: {coordinate: galactic, nside: 1, scheme: ring}
  initialization: {algorithm: flat, parameter: {value: [1.0, 1.0]}}
deconvolution:
  algorithm: RL
  parameter: {iteration_max: 2, alpha_max: 4.0, acceleration: True}
"""
DATA = "--event event.h5 --response psr.h5 --background b=background.h5"


def test_Y02_keys_of_another_release(skyfold, write, files):
    files.text("par.yml", PARFILE)
    says = ("alpha_max = 4", "method.acceleration.maximum", "fixed     b: 1")
    skyfold.accepts(f"run par.yml {DATA} -o out", says=says)


def test_Y01_unknown_keys(skyfold, write, files):
    files.text("par.yml", PARFILE.replace("acceleration:", "accelaration:"))
    skyfold.refuses(2, f"run par.yml {DATA} -o out", says=("par.yml:8", "accelaration"))


def test_other_sky_than_asked_for(skyfold, write, files):
    files.text("par.yml", PARFILE.replace("nside: 1", "nside: 2"))
    skyfold.refuses(3, f"run par.yml {DATA} -o out", says=("nside 2", "for 1"))


def test_F06_links_to_other_files(skyfold, write):
    secret = write("secret.h5", counts())
    with h5py.File(skyfold.folder / "event.h5", "r+") as file:
        del file["hist"]
        file["hist"] = h5py.ExternalLink(secret.name, "/hist")
    skyfold.refuses(7, CHECK, says=("links to", "secret.h5"))


def test_files_for_other_flags(skyfold, write):
    swapped = "check psr.h5 --response psr.h5"
    skyfold.refuses(3, swapped, says=("psr.h5 holds no counts", "NuLambda"))
    skyfold.accepts(
        "check event.h5 --response psr.h5 --background b=event.h5",
        says=("WARNING background b: is the same, bin by bin",),
    )
    says = ("psr.h5", "in Galactic coordinates", "response of the detector")
    skyfold.refuses(3, "cosi conversion event.h5 psr.h5 --output out.h5", says=says)


def test_a_prior_needs_its_method(skyfold, write):
    skyfold.refuses(2, f"{CHECK} --set method.name=rl --prior.gamma.k 0.5", says=("method map",))
