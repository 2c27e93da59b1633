"""Images from files and arrays: what is read, what is mended, what is refused."""

import gzip
from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from skyfold.errors import DataError, FileError
from skyfold_image.fitsfile import peek
from skyfold_image.image import Image
from skyfold_image.reading import read_image

COUNTS = np.arange(20, dtype=np.int16).reshape(4, 5)


def header(scale: float = 0.1) -> fits.Header:
    cards = fits.Header()
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    cards["CRVAL1"], cards["CRVAL2"] = 83.6, 22.0
    cards["CRPIX1"], cards["CRPIX2"] = 3.0, 2.5
    cards["CDELT1"], cards["CDELT2"] = -scale, scale
    return cards


def write(path: Path, *hdus: fits.hdu.base.ExtensionHDU) -> Path:
    fits.HDUList(list(hdus)).writeto(path)
    return path


def said(image: Image, level: str) -> str:
    return "\n".join(c.message for c in image.checks if c.level == level)


@pytest.mark.parametrize("kind", [">i2", ">i4", ">f4", ">f8", "u1"])
def test_numbers_become_native_whatever_their_type(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(COUNTS.astype(kind), header()))
    image = read_image(path, "counts")
    assert image.values.dtype == np.float64
    assert image.values.dtype.isnative
    assert image.values.flags.owndata or not isinstance(image.values.base, np.memmap)
    np.testing.assert_array_equal(image.values, COUNTS)
    if kind != "u1":
        assert f"converted {kind} -> float64 native" in said(image, "fixed")


def test_header_and_coordinates_are_kept(tmp_path: Path) -> None:
    cards = header()
    cards["BUNIT"], cards["OBJECT"] = "ct", "Crab"
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(COUNTS, cards)))
    assert image.wcs is not None
    assert image.header is not None
    assert image.unit == "ct"
    assert image.header["OBJECT"] == "Crab"
    assert "NAXIS1" not in image.header
    assert image.grid.pixel_size.to_value("deg") == pytest.approx(0.1)


def test_array_order_does_not_matter() -> None:
    image = read_image(np.asfortranarray(COUNTS), "counts")
    np.testing.assert_array_equal(image.values, COUNTS)
    assert image.values.flags.c_contiguous
    assert "contiguous" in said(image, "fixed")
    assert read_image(COUNTS, "counts").checks == ()


def test_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    cards = header()
    cards["CTYPE3"], cards["CRVAL3"], cards["CDELT3"], cards["CRPIX3"] = "FREQ", 1e9, 1.0, 1.0
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(COUNTS[None, None], cards))
    image = read_image(path)
    assert image.values.shape == (4, 5)
    assert image.wcs.naxis == 2
    assert "axes of length 1 dropped: (1, 1, 4, 5) -> (4, 5)" in said(image, "fixed")
    assert read_image(np.ones((1, 5))).values.shape == (1, 5)


def test_more_than_three_axes_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(2, 3, 4, 5\) has more than three axes"):
        read_image(np.ones((2, 3, 4, 5)))


def test_image_in_an_extension_is_found(tmp_path: Path) -> None:
    empty = fits.PrimaryHDU()
    empty.header["EXPTIME"] = 500.0
    path = write(tmp_path / "a.fits", empty, fits.ImageHDU(COUNTS, header(), name="SCI"))
    image = read_image(path)
    np.testing.assert_array_equal(image.values, COUNTS)
    assert "using HDU 1 'SCI'; choose another with a.fits[" in said(image, "fixed")
    assert image.header["EXPTIME"] == 500


@pytest.mark.parametrize("part", ["2", "DQ", "dq"])
def test_extension_is_chosen_by_number_or_name(tmp_path: Path, part: str) -> None:
    science = fits.ImageHDU(COUNTS, name="SCI")
    quality = fits.ImageHDU(COUNTS + 1, name="DQ")
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), science, quality)
    image = read_image(f"{path}[{part}]", "mask")
    np.testing.assert_array_equal(image.values, COUNTS + 1)
    assert image.path == path
    assert said(image, "warning") == ""
    with pytest.raises(DataError, match="has no HDU 'ERR'; it has"):
        read_image(f"{path}[ERR]")


def test_several_images_are_listed(tmp_path: Path) -> None:
    other = fits.ImageHDU(np.ones((7, 3)), name="EXPMAP")
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(COUNTS), other)
    image = read_image(path, "counts")
    warning = said(image, "warning")
    assert "several images" in warning
    assert "(4, 5)" in warning
    assert "1 'EXPMAP' (7, 3)" in warning
    assert "using HDU 0" in warning


def test_own_results_can_be_read_again_by_role(tmp_path: Path) -> None:
    named = fits.ImageHDU(COUNTS, name="COUNTS")
    path = write(tmp_path / "result.fits", fits.PrimaryHDU(COUNTS / 7), named)
    np.testing.assert_array_equal(read_image(path, "counts").values, COUNTS)


def test_event_list_is_refused_with_the_way_out(tmp_path: Path) -> None:
    columns = [fits.Column(name, "E", array=np.ones(33)) for name in ("RA", "DEC", "ENERGY")]
    table = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    path = write(tmp_path / "events.fits", fits.PrimaryHDU(), table)
    with pytest.raises(DataError, match=r"table of 33 events \(columns RA, DEC, ENERGY\).*Bin"):
        read_image(path)


def test_scaling_and_blanks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(COUNTS))
    scaling = {"BLANK": 7, "BSCALE": 2.0, "BZERO": 10.0}
    with fits.open(path, mode="update", do_not_scale_image_data=True) as file:
        file[0].header.update(scaling)
    image = read_image(path)
    np.testing.assert_array_equal(image.missing, COUNTS == 7)
    np.testing.assert_allclose(image.values, np.where(COUNTS == 7, 0, 10 + 2.0 * COUNTS))
    assert "1 blank pixels masked" in said(image, "fixed")
    assert not {*scaling} & {*image.header}


def test_unsigned_integers_know_their_ceiling(tmp_path: Path) -> None:
    raw = np.full((4, 5), 65535, np.uint16)
    image = read_image(write(tmp_path / "a.fits", fits.PrimaryHDU(raw)))
    assert image.ceiling == 65535
    assert image.saturated.all()
    assert read_image(COUNTS.astype(np.int64)).ceiling is None


def test_energy_edges_of_ebounds_are_in_kev_unless_said(tmp_path: Path) -> None:
    columns = [
        fits.Column("E_MIN", "D", array=np.array([1.0, 2.0])),
        fits.Column("E_MAX", "D", array=np.array([2.0, 5.0])),
    ]
    bounds = fits.BinTableHDU.from_columns(columns, name="EBOUNDS")
    cube = fits.PrimaryHDU(np.stack([COUNTS, COUNTS]))
    image = read_image(write(tmp_path / "cube.fits", cube, bounds))
    np.testing.assert_allclose(image.energy_edges.to_value("keV"), [1, 2, 5])
    bounds.data["E_MIN"] = [3.0, 2.0]
    with pytest.raises(DataError, match="decrease"):
        read_image(write(tmp_path / "bad.fits", cube, bounds))


@pytest.mark.parametrize("keep", [1000, 2880, 3000, 4000])
def test_cut_off_file_is_refused(tmp_path: Path, keep: int) -> None:
    whole = write(tmp_path / "whole.fits", fits.PrimaryHDU(np.ones((30, 20))))
    cut = tmp_path / "cut.fits"
    cut.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(FileError, match=r"cut\.fits is (cut off|damaged)") as caught:
        read_image(cut)
    if keep >= 2880:
        assert f"{keep} of {whole.stat().st_size} bytes" in str(caught.value)


def test_cut_off_gzip_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = write(tmp_path / "whole.fits", fits.PrimaryHDU(rng.random((30, 20))))
    cut = tmp_path / "cut.fits.gz"
    cut.write_bytes(gzip.compress(whole.read_bytes())[:-900])
    with pytest.raises(FileError, match="cut off"):
        read_image(cut)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.fits.gz"
    bad.write_bytes(b"\x1f\x8b\x08\x00" + b"not deflated at all" * 9)
    with pytest.raises(FileError, match=r"bad\.fits\.gz is damaged"):
        read_image(bad)


def test_web_page_is_recognised(tmp_path: Path) -> None:
    page = tmp_path / "counts.fits"
    page.write_text("\n<html>404 Not Found</html>\n")
    with pytest.raises(FileError, match=r"HTML page \(first line: <html>404 Not Found</html>\)"):
        read_image(page)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 64, "JPEG"),
        (b"hello world" * 10, "none of the known kinds"),
        (b"SIMPLE  = what is this" * 200, "damaged or no valid FITS|cut off"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "cut off or damaged"),
        (b"II*\0" + b"\xff" * 64, "damaged"),
        (b"\x93NUMPY\x01\x00" + b"\xff" * 64, "damaged|cut off"),
        (b"PK\x03\x04" + b"\xff" * 64, "damaged|cut off"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "counts.fits"
    path.write_bytes(content)
    with pytest.raises(FileError, match=words):
        read_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_image(tmp_path / "none.fits")
    with pytest.raises(FileError, match="cannot be read"):
        read_image(tmp_path)


def test_gzip_is_seen_by_content_not_by_name(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(COUNTS))
    packed = tmp_path / "packed.fits"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    misnamed = tmp_path / "plain.fits.gz"
    misnamed.write_bytes(plain.read_bytes())
    for path in (packed, misnamed):
        np.testing.assert_array_equal(read_image(path).values, COUNTS)


def test_gzip_bomb_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyfold_image.image.ALWAYS_READ", 100_000)
    monkeypatch.setattr("skyfold_image.image.PLAUSIBLE_RATIO", 10)
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(np.zeros((256, 256))))
    bomb = tmp_path / "bomb.fits.gz"
    bomb.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match=r"header announces 256x256x8 = 524.3 kB .*--allow-large"):
        read_image(bomb)
    assert read_image(bomb, allow_large=True).values.shape == (256, 256)
    extension = write(tmp_path / "b.fits", fits.PrimaryHDU(), fits.ImageHDU(np.zeros((256, 256))))
    bomb.write_bytes(gzip.compress(extension.read_bytes()))
    with pytest.raises(DataError, match="unpacked size"):
        read_image(bomb)


@pytest.mark.parametrize(
    "name", ["with space.fits", "ünï-日本.fits", "a:b.fits", "set[1].fits", "it's.fits", "50%.fits"]
)
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, fits.PrimaryHDU(COUNTS))
    np.testing.assert_array_equal(read_image(path).values, COUNTS)
    np.testing.assert_array_equal(read_image(f"{path}[0]").values, COUNTS)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_saved_arrays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, COUNTS)
    else:
        np.savez(path, other=np.zeros(3), counts=COUNTS)
    image = read_image(path, "counts")
    np.testing.assert_array_equal(image.values, COUNTS)
    if suffix == "npz":
        assert "several arrays (other, counts); using 'counts'" in said(image, "warning")
        np.testing.assert_array_equal(read_image(f"{path}[other]").values, np.zeros(3))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        read_image(tmp_path / "a.npy")


def test_npy_that_announces_too_much_is_cut_off(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((100, 100)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(100, 100)", b"(9999999,)"))
    with pytest.raises(FileError, match="cut off"):
        read_image(tmp_path / "a.npy")


def test_objects_of_astropy() -> None:
    wcs = WCS(header())
    hdu = fits.ImageHDU(COUNTS, header(), name="COUNTS")
    masked = NDData(COUNTS.astype(float), mask=COUNTS == 3, unit="ct", wcs=wcs)
    quantity = COUNTS * u.cm**2
    np.testing.assert_array_equal(read_image(hdu).values, COUNTS)
    assert read_image(hdu).wcs is not None
    assert read_image(masked).missing.sum() == 1
    assert read_image(masked).unit == "ct"
    assert read_image(masked).wcs is not None
    assert read_image(quantity).unit == "cm2"
    assert read_image(np.ma.masked_equal(COUNTS, 3)).missing.sum() == 1
    np.testing.assert_array_equal(read_image(COUNTS.tolist()).values, COUNTS)


@pytest.mark.parametrize("bad", [np.array(["a", "b"]), np.ones(3) * 1j, np.zeros((0, 3)), 5.0])
def test_what_is_no_image_is_refused(bad: object) -> None:
    with pytest.raises(DataError):
        read_image(bad)


def colour(kind: type) -> np.ndarray:
    top = np.iinfo(kind).max
    return (np.linspace(0, 1, 6 * 7 * 3).reshape(6, 7, 3) * top).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colour_photographs(tmp_path: Path, kind: type, suffix: str) -> None:
    path, raw = tmp_path / f"a.{suffix}", colour(kind)
    if suffix == "png":
        depth = 8 * raw.itemsize
        png.from_array(raw.reshape(6, -1), f"RGB;{depth}").save(path)
    else:
        tifffile.imwrite(path, raw, photometric="rgb")
    each = read_image(path, "counts")
    np.testing.assert_array_equal(each.values, np.moveaxis(raw, 2, 0))
    assert "image has 3 channels" in said(each, "fixed")
    assert each.saturated.sum() == 1
    luma = read_image(path, "counts", channels="luma")
    np.testing.assert_allclose(luma.values, raw @ np.array([0.2126, 0.7152, 0.0722]))
    assert luma.saturated.sum() == 1
    assert ("gamma-encoded" in said(each, "warning")) == (kind is np.uint8)


def test_colour_arrays_and_planar_tiff(tmp_path: Path) -> None:
    raw = colour(np.uint16)
    assert read_image(raw, "counts").values.shape == (3, 6, 7)
    planes = np.ascontiguousarray(np.moveaxis(raw, 2, 0))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").values, planes)
    assert read_image(planes.astype(float)).values.shape == (3, 6, 7)


def test_opacity_is_left_out(tmp_path: Path) -> None:
    raw = np.concatenate([colour(np.uint16), np.full((6, 7, 1), 65535, np.uint16)], axis=2)
    png.from_array(raw.reshape(6, -1), "RGBA;16").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").values.shape == (3, 6, 7)
    assert "opacity" in said(read_image(raw), "fixed")


def test_grey_16_bit_is_kept(tmp_path: Path) -> None:
    raw = colour(np.uint16)[..., 0]
    png.from_array(raw, "L;16").save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", raw)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name).values, raw)


def test_srgb_is_linearised_when_asked(tmp_path: Path) -> None:
    linear = np.linspace(0, 1, 42).reshape(6, 7)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    tifffile.imwrite(tmp_path / "a.tif", np.rint(curve * 65535).astype(np.uint16))
    image = read_image(tmp_path / "a.tif", "counts", encoding="srgb")
    np.testing.assert_allclose(image.values / 65535, linear, atol=3e-5)
    with pytest.raises(DataError, match="cannot be sRGB-encoded"):
        read_image(np.full((5, 5), 7.0), "counts", encoding="srgb")


def test_told_encoding_warns_no_more(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", colour(np.uint8)[..., 0])
    assert "gamma-encoded" in said(read_image(tmp_path / "a.tif", "counts"), "warning")
    for encoding in ("linear", "srgb"):
        image = read_image(tmp_path / "a.tif", "counts", encoding=encoding)
        assert said(image, "warning") == ""


def test_tiff_with_pages_says_which_is_used(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.ones((6, 7), np.uint16))
        file.write(np.ones((3, 4), np.uint16))
    assert "holds 2 images; using 0" in said(read_image(tmp_path / "a.tif"), "warning")
    assert read_image(f"{tmp_path / 'a.tif'}[1]").values.shape == (3, 4)


def test_peek_reads_the_header_and_never_raises(tmp_path: Path) -> None:
    cards = header()
    cards["TELESCOP"] = "CHANDRA"
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(), fits.ImageHDU(COUNTS, cards))
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        assert peek(path)["TELESCOP"] == "CHANDRA"
        assert peek(f"{path}[1]")["TELESCOP"] == "CHANDRA"
    junk = tmp_path / "junk"
    for content in (b"", b"SIMPLE  =", b"SIMPLE  = x" * 900, b"\x1f\x8bxx", b"abc"):
        junk.write_bytes(content)
        assert peek(junk) is None
    assert peek(tmp_path / "none") is None


def test_other_tables_are_not_called_events(tmp_path: Path) -> None:
    column = fits.Column("Theta", "D", array=np.ones(9))
    table = fits.BinTableHDU.from_columns([column], name="THETA")
    path = write(tmp_path / "psf.fits", fits.PrimaryHDU(), table)
    with pytest.raises(DataError, match=r"table of 9 rows \(columns Theta\), no image\. Give the"):
        read_image(path)
