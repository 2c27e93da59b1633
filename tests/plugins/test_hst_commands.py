"""The programs by their names: the numbers, files and words that they leave."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import skyfold
from skyfold.algorithms import plucy as steps
from skyfold.errors import ConfigError, FileError, SkyfoldError
from skyfold_hst.better_psf import better_psf
from skyfold_hst.commands import acoadd, cplucy, lucy, plucy
from skyfold_hst.frames import open_plucy
from skyfold_hst.telescope import field, stars, telescope_psf
from skyfold_responses.points import Points
from skyfold_responses.psf import Psf

WCS = {
    "CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 16.0, "CDELT1": -1e-5,
    "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 12.0, "CDELT2": 1e-5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Work in an empty folder, without drawing reports, which takes longer than all else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skyfold.report.write", lambda folder: folder / "report.html")


def words(line):
    return line.split()


def write(name, values, **cards):
    fits.PrimaryHDU(np.asarray(values), fits.Header(cards)).writeto(f"{name}.fits")


def read(name):
    return fits.getdata(f"{name}.fits")


def listed(name, rows):
    Path(name).write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def table(name):
    return np.loadtxt(name, ndmin=2)


@pytest.fixture
def case(shared_data):
    """Write the input of a reference run, and return it."""

    def load(letter):
        given = dict(np.load(shared_data / "two-channel" / f"case_{letter}_input.npz"))
        write("data", given["data"])
        write("psf", given["psf"])
        rows = zip(given["stars"][:, 0], given["stars"][:, 1], given["mags"], strict=True)
        listed("stars", rows)
        return given

    return load


@pytest.fixture
def observed(rng):
    """Write a field with four stars, one PSF and a list."""
    shape, psf = (24, 32), telescope_psf(24)
    places, fluxes = stars(4, 4, shape)
    places = np.rint(places)
    y, x = np.indices(shape)
    expected = Psf(psf, shape, "periodic").forward(field(y - 11.5, x - 15.5))
    expected += Points([psf], places, shape, cyclic=True).forward(fluxes)
    write("data", rng.poisson(np.maximum(expected, 0)).astype(float), **WCS)
    write("psf", psf)
    listed("stars", [(x + 1, y + 1, 11) for x, y in places])
    return fluxes


def transfer_of(psf):
    """Return the Fourier transform of a PSF of 24 x 24 pixels, its peak on the first pixel."""
    moved = np.roll(np.pad(psf, ((0, 0), (0, 8))), (-11, -11), (0, 1))
    return np.fft.fft2(moved / moved.sum())


def blurred(image, transfer):
    return np.fft.ifft2(np.fft.fft2(image) * transfer).real


@pytest.mark.parametrize("letter", [pytest.param("a", marks=pytest.mark.slow), "b"])
def test_plucy_gives_the_numbers_of_the_original(letter, case, shared_data, capsys):
    given = case(letter)
    reference = np.load(shared_data / "two-channel" / f"ref_{letter}.npz")
    line = f"data psf {given['fracent']} {given['niter']} decon stars back=back outtab=table"
    line += f" skernel={given['skernel']} xsub={given['xsub']} ysub={given['ysub']} verbose=no"
    plucy([*words(line), f"magzero={given['magzero']}"])
    np.testing.assert_allclose(read("back"), reference["back"], rtol=1e-4)
    np.testing.assert_allclose(read("decon"), reference["decon"], rtol=1e-4)
    np.testing.assert_allclose(table("table")[:, :5], reference["table"][:, :5], rtol=1e-5)
    trace = skyfold.open("decon_skyfold").trace
    objective = [row["objective"] for row in trace[:-1]]
    np.testing.assert_allclose(objective, reference["obj"], rtol=0, atol=1e-10)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_detector_pixels_give_the_same_as_repeated_ones(case, shared_data):
    given = case("b")
    reference = np.load(shared_data / "two-channel" / "ref_b.npz")
    write("detector", given["detector"])
    listed("stars", [(30.2, 33.8, 10)])
    line = "detector psf 0.1 100 out stars outtab=table skernel=3 xsubsam=2 ysubsam=2 verbose-"
    plucy(words(line))
    np.testing.assert_allclose(read("out"), reference["decon"], rtol=1e-4)
    assert table("table")[0, 4] == pytest.approx(reference["table"][0, 4], rel=1e-5)


@pytest.mark.slow
def test_cplucy_gives_the_numbers_of_the_original(case, shared_data):
    given = case("d")
    reference = np.load(shared_data / "two-channel" / "ref_d_cplucy_poly5.npz")
    line = f"data psf niter=60 star=stars back=back starim=stars outtab=table interpol=poly5 " \
            f"skernel={given['skernel']} verbose-"  # fmt: skip
    with pytest.raises(ConfigError, match="'star' may be starlist or starim"):
        cplucy(words(line))
    cplucy(words(line.replace("star=", "starl=").replace("starim=stars", "starim=light")))
    np.testing.assert_allclose(table("table")[:, 4], reference["table"][:, 4], rtol=1e-5)
    np.testing.assert_allclose(read("back"), reference["back"], rtol=1e-3)
    np.testing.assert_allclose(read("light"), reference["starim"], atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("interpol", ["exact", "spline3"])
def test_exact_shifts_agree_with_cplucy_to_a_percent(case, shared_data, interpol):
    given = case("d")
    reference = np.load(shared_data / "two-channel" / "ref_d_cplucy_poly5.npz")
    line = f"data psf niter=60 starlist=stars outtab=table interpol={interpol} back=back verbose-"
    cplucy([*words(line), f"skernel={given['skernel']}"])
    np.testing.assert_allclose(table("table")[:, 4], reference["table"][:, 4], rtol=2e-3)


def test_acoadd_gives_the_numbers_of_the_original(shared_data):
    given = np.load(shared_data / "two-channel" / "case_e_input.npz")
    reference = np.load(shared_data / "two-channel" / "ref_e_coadd_accel.npz")
    for name in ("data1", "data2", "psf1", "psf2"):
        write(name, given[name])
    Path("frames").write_text("data1\ndata2\n")
    acoadd(words("@frames psf1,psf2 40 scene coadd verbose=no"))
    np.testing.assert_allclose(read("scene"), reference["decon"], rtol=1e-7)
    for i in (1, 2):
        np.testing.assert_allclose(read(f"coadd_{i}"), reference[f"coadd{i}"], rtol=1e-9)


@pytest.mark.slow
def test_acoadd_with_a_mask_and_a_first_image(observed):
    y, x = np.indices((24, 32))
    write("mask", ((y > 3) | (x > 3)).astype(int))
    acoadd(words("data,data psf,psf 3 a verbose- accel- maskim=mask"))
    acoadd(words("data psf 2 first accel- verbose- maskim=mask"))
    acoadd(words("data psf 1 b accel- verbose- maskim=mask firstim=first"))
    acoadd(words("data psf 3 c accel- verbose- maskim=mask"))
    np.testing.assert_allclose(read("b"), read("c"), rtol=1e-9)
    assert skyfold.open("c_skyfold").data.weight[0, 0] == 0


def test_plucy_without_a_floating_prior_ends_at_the_maximum(observed):
    plucy(words("data psf 0.1 60 out stars back=back outtab=table fprior=no verbose-"))
    total, transfer = read("data").sum(), transfer_of(telescope_psf(24))
    share, found = read("back") / total, table("table")
    ratio = blurred(read("data") / blurred(read("out"), transfer), transfer.conj())
    slope = ratio - 0.1 * (np.log(share) + 1)  # of sum d log m - 0.1 sum q log q
    assert read("out").sum() == pytest.approx(total)
    np.testing.assert_allclose(slope, slope[0, 0], rtol=1e-3)  # the multiplier of the total
    row, column = found[:, [2, 1]].astype(int).T - 1
    assert np.all(ratio[row, column] < slope[0, 0])  # so that this prior leaves no light to stars
    np.testing.assert_allclose(found[:, 4], 0, atol=1e-3 * total)


def test_acoadd_with_a_mask_is_em_on_the_good_pixels(observed, rng):
    mask, psfs = np.ones((24, 32)), [telescope_psf(24), telescope_psf(24, 2.8)]
    mask[5:8, 3:30], mask[:, 20] = 0, 0
    frames = [read("data").astype(float), rng.poisson(3 * read("data")).astype(float)]
    for name, values in {"other": frames[1], "wide": psfs[1], "mask": mask}.items():
        write(name, values)
    acoadd(words("data,other psf,wide 4 out coaddr=again maskim=mask accel- verbose-"))
    shares = [frame.sum() / np.sum(frames) for frame in frames]
    transfers = [transfer_of(psf) for psf in psfs]
    sky = np.ones((24, 32))
    for _ in range(4):
        back, seen = 0.0, 0.0
        for counts, transfer, share in zip(frames, transfers, shares, strict=True):
            ratio = mask * counts / blurred(share * sky, transfer)
            back = back + share * blurred(ratio, transfer.conj())
            seen = seen + share * blurred(mask, transfer.conj())
        sky = sky * back / seen
    np.testing.assert_allclose(read("out"), sky, rtol=1e-9)
    np.testing.assert_allclose(read("again_2"), blurred(sky, transfers[1]), rtol=1e-9)


def test_everything_is_told(observed, capsys):
    plucy(words("data psf 0.1 3 out stars skernel=3"))
    said = capsys.readouterr().out
    for line in (
        "plucy     of skyfold",
        "file    counts: ",
        "file    psf: ",
        "file    stars: ",
        "start     background ",
        "iteration 1 of 3",
        "light   stars ",
        "residual rms ",
        "objective -",
        "log-likelihood -",
        "entropy ",
        "; rose by ",
        "tried ",
        " of the step: objective +",
        "longest ",
        "step    ",
        "convergence 1\n",
        "star 4    ",
        ", magnitude ",
        "stopped   all 3 iterations done",
        "written   out.fits, out_skyfold/",
    ):
        assert line in said, line


def test_what_is_tried_last_is_what_is_gained(observed, capsys):
    plucy(words("data psf 0.1 4 out stars skernel=3"))
    said = capsys.readouterr().out.splitlines()
    objective = [row["objective"] for row in skyfold.open("out_skyfold").trace]
    tried = [line.split() for line in said if line.startswith("  tried ")]
    last = [i for i, line in enumerate(said) if line.startswith("  step ")][1]
    gain = float(said[last - 1].split()[-1])
    assert gain == pytest.approx(objective[2] - objective[1], rel=1e-3)
    assert len(tried) >= 4


def test_a_run_that_fails_leaves_no_listener(observed, monkeypatch):
    def fails(*given):
        assert steps.tell.handlers
        raise RuntimeError

    before = steps.tell.level, steps.tell.handlers[:]
    monkeypatch.setattr(steps.Plucy, "m_step", fails)
    with pytest.raises(RuntimeError):
        plucy(words("data psf 0.1 3 out"))
    assert (steps.tell.level, steps.tell.handlers) == before


def test_what_was_wrong_is_told_even_without_verbose(observed, capsys):
    values = read("data")
    values[2, 3] = -2.5
    write("negative", values)
    write("bright", 2 * read("psf"))
    plucy(words("negative bright 0.1 1 out verbose=no"))
    said = capsys.readouterr()
    assert "1 negative values (min -2.5) set to zero" in said.err
    assert "the sum of the PSF is 2: brought to 1" in said.err
    assert said.out == ""


def test_acceleration_switches_itself_on(observed, capsys):
    """A strong entropy and whole steps: the objective falls."""
    plucy(words("data psf 3 6 out stars skernel=3 accel=no"))
    said = capsys.readouterr().out
    assert "WARNING the objective fell by" in said
    assert "steps are accelerated from now on" in said
    steps = [row["acceleration"] for row in skyfold.open("out_skyfold").trace[1:]]
    assert steps[:3] == [1.0, 1.0, 1.0]
    assert 1.0 not in steps[3:]


def test_without_a_list_all_is_background(observed):
    plucy(words("data psf 0.1 4 out back=back verbose- skernel=3"))
    np.testing.assert_array_equal(read("out"), read("back"))
    assert set(skyfold.open("out_skyfold").model) == {"sky"}


def test_without_entropy_and_stars_it_is_richardson_lucy(observed):
    plucy(words("data psf 0 4 out accel- verbose-"))
    lucy(words("data psf again niter=4 limchisq=0 accel_method=none verbose-"))
    np.testing.assert_allclose(read("out"), read("again"), rtol=1e-9)


def test_coordinates_are_handed_on(observed):
    plucy(words("data psf 0.1 1 out stars xsub=2 ysub=3 verbose-"))
    fine, given = (fits.getheader(f"{name}.fits") for name in ("out", "data"))
    assert fits.getdata("out.fits").shape == (72, 64)
    assert fine["CRPIX1"] == pytest.approx((given["CRPIX1"] - 0.5) * 2 + 0.5)
    scale = fine["CDELT2"] * fine["PC2_2"]
    assert scale == pytest.approx(given["CDELT2"] / 3)
    assert fits.getdata("out.fits").dtype == np.dtype(">f8")


def test_the_total_is_background_and_stars(observed):
    plucy(
        [
            "data",
            "psf",
            "0.1",
            "5",
            "out",
            "stars",
            "back=back",
            "outtab=table",
            "verbose-",
            "skernel=2",
        ]
    )
    rows = table("table")
    light = read("out") - read("back")
    assert light.sum() == pytest.approx(rows[:, 4].sum(), rel=1e-4)
    x, y = rows[:, 1:3].T.astype(int) - 1
    np.testing.assert_allclose(light[y, x], rows[:, 4], atol=0.01)
    np.testing.assert_allclose(rows[:, 4], observed, rtol=0.1, atol=400)
    np.testing.assert_allclose(rows[:, 5], 20 - 2.5 * np.log10(rows[:, 4]), atol=1e-3)


@pytest.mark.slow
def test_a_better_psf(observed, capsys):
    write("wide", telescope_psf(24, 2.8))
    true = telescope_psf(24)
    line = "data wide 0.1 2 out stars skernel=2 modpsf=yes outpsf=better"
    plucy(words(line))
    assert "psf       first restored, blindly" in capsys.readouterr().out
    better = read("better")
    assert better.sum() == pytest.approx(1)
    assert np.abs(better - true).sum() < 0.9 * np.abs(read("wide") - true).sum()
    assert skyfold.open("out_skyfold").manifest["config"]["data"][0]["psf"].endswith("better.fits")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 4])
def test_a_better_psf_has_smooth_wings_and_measures_stars_better(seed):
    shape, true, wide = (96, 96), telescope_psf(48), telescope_psf(48, 2.8)
    places, fluxes = stars(seed, 12, shape)
    y, x = np.indices(shape)
    expected = Psf(true, shape, "periodic").forward(field(y - 48, x - 48))
    expected += Points([true], places, shape, cyclic=True).forward(fluxes)
    write("data", np.random.default_rng(seed).poisson(np.maximum(expected, 0)).astype(float))
    write("wide", wide)
    listed("stars", [(x + 1, y + 1, 11) for x, y in places])
    options = {"counts": "data.fits", "psf": "wide.fits", "stars": "stars", "block": [1, 1]}
    assert "its width went from 2.13 to 1.8" in better_psf(options, Path("better.fits"))
    v, u = np.indices(true.shape) - 23
    wings = np.hypot(v, u) > 9
    np.testing.assert_allclose(read("better")[wings], wide[wings], atol=1e-6)
    off = {}
    for name in ("wide", "better"):
        data = open_plucy("data.fits", f"{name}.fits", stars="stars", shift="exact")
        method = {"method": "two-channel", "smooth": "5 pix", "strength": 0.1}
        found = skyfold.run(data, **method, progress=False).model["stars"]
        bright = fluxes > np.median(fluxes)
        off[name] = np.sqrt(np.mean((found / fluxes - 1)[bright] ** 2))
    assert off["better"] < 0.025
    assert off["better"] < 0.6 * off["wide"]


@pytest.mark.parametrize(
    ("command", "line", "says"),
    [
        (plucy, "data psf 0.1 1 out modpsf=yes outpsf=p", "needs outpsf, for the new PSF"),
        (plucy, "data psf 0.1 1 out stars modpsf=yes", "needs outpsf"),
        (plucy, "data psf 0.1 1 out stars outpsf=p", "only with modpsf=yes"),
        (plucy, "data psf 0.1 1 out outtab=t", "there is no starlist"),
        (plucy, "data psf 0.1 1 out stars back=out", "decon and back are both out.fits"),
        (acoadd, "data,data psf 1 out", "2 images but 1 PSFs"),
        (cplucy, "data psf back=out starim=s", "there is no starlist"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(observed, command, line, says):
    with pytest.raises(ConfigError, match=says):
        command(words(line))


@pytest.mark.parametrize(
    ("command", "line", "says"),
    [
        (plucy, "data psf 0.1 2 out empty", "no star in it"),
        (plucy, "data psf 0.1 2 out outside", "is outside the image of 32 x 24 pixels"),
        (plucy, "data psf 0.1 2 out twice", "are at the same place"),
        (plucy, "data psf 0.1 2 out close", r"are both on pixel \(13, 11\)"),
        (plucy, "data psf 0.1 2 out words", "words.* 'bright' is no number"),
        (plucy, "data psf 0.1 2 out short", "short.* 2 numbers"),
        (plucy, "data large 0.1 2 out stars", "64 x 64 pixels, the restored image 32 x 24"),
        (plucy, "large large 0.1 2 out xsub=3", "64 x 64 pixels are no multiple of 3 x 1"),
        (lucy, "data psf out maskin=mask", "no good pixel"),
        (lucy, "data psf out weight=large", "must agree exactly"),
        (acoadd, "data,large psf,psf 3 out", r"shape \(24, 32\) against \(64, 64\)"),
        (lucy, "data psf out xsizeout=8", "8 x 24 is smaller than the data, 32 x 24"),
        (lucy, "data psf out accel_method=fast", 'expected "none" or "standard" or "turbo"'),
        (plucy, "data none 0.1 2 out", "none: there is no such image"),
        (plucy, "data psf 0.1 2 out nobody", "nobody cannot be read"),
    ],
)
def test_bad_files(observed, command, line, says):
    for name, text in {
        "empty": "# none\n",
        "outside": "3 3 10\n40 3 10\n",
        "twice": "3 3 10\n3 3 11\n",
        "close": "13.2 10.9 10\n12.8 11.1 11\n",
        "words": "3 3 bright\n",
        "short": "3 3\n",
    }.items():
        Path(name).write_text(text)
    write("large", np.ones((64, 64)))
    write("mask", np.zeros((24, 32)))
    before = sorted(Path().iterdir())
    with pytest.raises(SkyfoldError, match=says):
        command(words(line))
    assert sorted(Path().iterdir()) == before


def test_nothing_is_replaced(observed):
    write("out", np.ones((2, 2)))
    with pytest.raises(FileError, match=r"decon: out\.fits exists already"):
        plucy(words("data psf 0.1 1 out stars"))
    with pytest.raises(FileError, match=r"back: data\.fits exists already"):
        plucy(words("data psf 0.1 1 new stars back=data"))
    plucy(words("data psf 0.1 1 new stars verbose-"))
    with pytest.raises(FileError, match=r"run folder .* exists"):
        plucy(words("data psf 0.1 1 other stars out=new_skyfold"))


@pytest.mark.slow
def test_a_run_can_go_on(observed):
    plucy(words("data psf 0.1 6 whole stars skernel=3 verbose-"))
    plucy(words("data psf 0.1 3 part stars skernel=3 verbose-"))
    result = skyfold.resume("part_skyfold", 6, progress=False)
    np.testing.assert_array_equal(result.model["sky"], skyfold.open("whole_skyfold").model["sky"])


def test_lucy_writes_mask_and_steps_between(observed):
    values = read("data")
    values[4, 5] = -1000
    write("holes", values)
    line = "holes psf out niter=4 limchisq=0 noise=3 background=10 maskout=mask nsave=2 verbose-"
    lucy(words(line))
    assert read("mask")[4, 5] == 0
    assert read("mask").sum() == values.size - 1
    np.testing.assert_array_equal(read("out_4"), read("out"))
    assert np.any(read("out_2") != read("out"))


def test_lucy_ends_by_chi_square(observed, capsys):
    lucy(words("data psf out niter=60 noise=2 limchisq=1.5 accel_method=turbo"))
    said = capsys.readouterr().out
    assert "turbo: lengthened by the refinement acceleration" in said
    assert "stopped   chi-square per bin is" in said
    result = skyfold.open("out_skyfold")
    assert result.state.iteration < 60
    assert result.trace[-1]["chi_square"] <= 1.5


def test_parameters_are_told_by_help():
    for command in (plucy, cplucy, acoadd, lucy):
        assert "Takes, in this order" in command.__doc__
    assert "  skernel: a number greater than 0 (10.0)" in plucy.__doc__
