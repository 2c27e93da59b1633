"""Counts that are none, and what is said about them (codes of the list of faults)."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

PSF = "--psf 'gauss:2 pix'"
RUN = f"run counts.fits {PSF} --iterations 2 -o out"
CHECK = f"check counts.fits {PSF}"


@pytest.mark.parametrize(
    ("code", "value", "found"),
    [("C01", np.nan, "3 non-finite values"), ("C02", np.inf, "3 non-finite values")],
    ids=["C01", "C02"],
)
def test_values_that_are_not_finite(skyfold, files, code, value, found):
    counts = files.sky().astype(float)
    counts[5, 6] = counts[20, 20] = value
    counts[20, 21] = -value
    files.counts(counts)
    cure = ("--mask nan", "repair")
    skyfold.refuses(3, RUN, says=("counts.fits", found, "x=6 y=5", *cure))
    skyfold.accepts(f"{CHECK} --mask nan", says=("mask removes 0.293 % of the pixels",))


def test_C03_negative_counts(skyfold, files):
    counts = files.sky().astype(float)
    counts[4, 7] = -50
    counts[20, 20:23] = -0.5
    files.counts(counts)
    says = ("counts.fits", "4 negative values (min -50)", "x=7 y=4", "--background", "--negative")
    skyfold.refuses(3, RUN, says=says)
    says = ("WARNING counts: 4 negative values (min -50) set to zero", "changes the total by +")
    skyfold.accepts(f"{CHECK} --negative clip", says=says)


def test_C04_rates(skyfold, files):
    seconds = 49_531.0
    says = ("WARNING counts:", "counts.fits: ", "rate", "EXPOSURE=49531 s", "--counts-unit ct/s")
    for unit in ({}, {"BUNIT": "ct/s"}):
        files.counts(files.sky() / seconds, EXPOSURE=seconds, **unit)
        skyfold.accepts(CHECK, says=says)
    ended = skyfold.accepts(f"{CHECK} --counts-unit ct/s", says=("multiplied by EXPOSURE",))
    assert "WARNING" not in ended.out
    assert f"{files.sky().sum()} counts" in ended.out


def test_C04_rates_without_exposure_time(skyfold, files):
    files.counts(files.sky() / 100)
    skyfold.accepts(CHECK, says=("not whole numbers (e.g. ", "at pixel x=", "--gain"))
    says = ("--counts-unit ct/s", "counts.fits", "EXPOSURE", "--gain")
    skyfold.refuses(2, f"{CHECK} --counts-unit ct/s", says=says)


def test_C05_scaled_to_one(skyfold, files):
    counts = files.sky()
    files.counts(counts / counts.max())
    skyfold.accepts(CHECK, says=("WARNING", "largest value is 1", "BUNIT", "normalised", "--gain"))
    ended = skyfold.accepts(f"{CHECK} --gain {counts.max()}")
    assert "WARNING" not in ended.out


def test_C05_scaled_to_8_bits(skyfold, files):
    counts = files.sky()
    files.counts((counts * 255 / counts.max()).astype(np.uint8))
    skyfold.accepts(CHECK, says=("WARNING", "8 bits", "looks scaled", "--gain"))


def test_C06_no_counts(skyfold, files):
    files.counts(np.zeros((32, 32), np.int16))
    skyfold.refuses(3, RUN, says=("counts.fits", "no counts at all", "mask", "energy range"))


def test_C07_very_few_counts(skyfold, files):
    counts = np.zeros((32, 32), np.int16)
    counts[5, 1:24] = 1
    files.counts(counts)
    skyfold.accepts(CHECK, says=("WARNING counts: only 23 counts", "upper limits"))


def test_C08_saturated_pixels(skyfold, files):
    counts = files.sky().astype(np.uint16)
    counts[10, 11:14] = 65535
    files.counts(counts)
    says = ("WARNING counts: 3 pixels equal 65535 (saturated): masked", "--saturation keep")
    skyfold.accepts(CHECK, says=says)
    skyfold.accepts(f"{CHECK} --saturation keep", says=("3 pixels equal 65535", "kept"))


def test_C09_big_endian(skyfold, files):
    files.counts(files.sky().astype(">i2"))
    skyfold.accepts(CHECK, says=("fixed   counts: converted >i2 -> float64 native",))


def test_C10_layout_in_memory(skyfold, files):
    counts = files.sky((24, 32))
    np.save(files.folder / "plain.npy", counts.astype(float))
    np.save(files.folder / "turned.npy", np.asfortranarray(counts.astype(float)))
    for name in ("plain", "turned"):
        says = (f"{counts.sum()} counts, largest {counts.max()} at pixel x=12 y=10",)
        ended = skyfold.accepts(f"check {name}.npy {PSF}", says=says)
    assert "fixed   counts: converted strided" in ended.out


def test_C11_colour_image(skyfold, files):
    png = pytest.importorskip("png")
    counts = files.sky((20, 24)).astype(np.uint16)
    colour = np.stack([counts, counts // 2, counts // 3], axis=-1)
    writer = png.Writer(24, 20, greyscale=False, bitdepth=16)
    with (files.folder / "photo.png").open("wb") as file:
        writer.write(file, colour.reshape(20, -1).tolist())
    ended = skyfold.accepts(
        f"check photo.png {PSF}", says=("fixed   counts: image has 3 channels", "--channels luma")
    )
    assert "3 x 20 x 24 bins" in ended.out
    ended = skyfold.accepts(f"check photo.png {PSF} --channels luma", says=("luma",))
    assert " 20 x 24 bins" in ended.out


def test_C12_axes_of_length_one(skyfold, files):
    files.counts(files.sky()[None, None])
    ended = skyfold.accepts(CHECK, says=("axes of length 1 dropped: (1, 1, 32, 32) -> (32, 32)",))
    assert "data      counts: 32 x 32 bins" in ended.out


def test_C12_more_axes_than_an_image_has(skyfold, files):
    files.counts(np.ones((2, 2, 8, 8), np.int16))
    skyfold.refuses(3, RUN, says=("counts.fits", "(2, 2, 8, 8)", "(energy, y, x)"))


def test_C13_image_in_an_extension(skyfold, files):
    science = fits.ImageHDU(files.sky(), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), science]).writeto(files.folder / "counts.fits")
    skyfold.accepts(CHECK, says=("using HDU 1 'SCI'", "counts.fits["))


def test_C14_several_images(skyfold, files):
    images = [fits.ImageHDU(files.sky(), name="ONE"), fits.ImageHDU(files.sky()[:20], name="TWO")]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(files.folder / "counts.fits")
    says = ("WARNING", "several images", "1 'ONE' (32, 32), 2 'TWO' (20, 32)", "using HDU 1")
    skyfold.accepts(CHECK, says=says)
    for part in ("2", "TWO"):
        ended = skyfold.accepts(f"check counts.fits[{part}] {PSF}")
        assert "20 x 32 bins" in ended.out
        assert "several" not in ended.out
    says = ("counts.fits", "no HDU 'THREE'", "1 'ONE'", "2 'TWO'")
    skyfold.refuses(3, f"run counts.fits[THREE] {PSF}", says=says)


def test_C15_events(skyfold, files):
    events = Table({"RA": [1.0, 2, 3], "DEC": [4.0, 5, 6], "ENERGY": [7.0, 8, 9]})
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(events, name="EVENTS")]
    fits.HDUList(hdus).writeto(files.folder / "counts.fits")
    says = ("counts.fits", "table of 3 events (columns RA, DEC, ENERGY)", "Bin")
    skyfold.refuses(3, RUN, says=says)


def test_C16_scaled_and_blank_values(skyfold, files):
    counts = files.sky()
    stored = (counts - 100).astype(np.int16)
    stored[3, 4] = stored[8, 9] = -32768
    cards = fits.Header({"BZERO": 100.0, "BSCALE": 1.0, "BLANK": -32768})
    hdu = fits.PrimaryHDU(stored, do_not_scale_image_data=True)
    hdu.header.update(cards)
    hdu.writeto(files.folder / "counts.fits")
    counts[3, 4] = counts[8, 9] = 0
    says = ("fixed   counts: 2 blank pixels masked", f" {counts.sum()} counts")
    skyfold.accepts(RUN, says=says)
    image = fits.getdata(files.folder / "out" / "result.fits")
    assert np.isfinite(image).all()


def test_C17_mask_that_leaves_nothing(skyfold, files):
    counts = np.zeros((32, 32), np.int16)
    counts[:16] = 5
    files.counts(counts)
    mask = np.zeros((32, 32), np.uint8)
    mask[16:] = 1
    files.fits("mask.fits", mask)
    says = ("mask", "removes 100 % of the counts", "invert", "--mask-invert")
    skyfold.refuses(3, f"{RUN} --mask mask.fits", says=says)
    skyfold.accepts(f"{CHECK} --mask mask.fits --mask-invert")
