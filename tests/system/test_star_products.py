"""What a run with point sources prints and writes, as a user sees it."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

OPTIONS = "--psf psf.fits --method two-channel --strength 0.1 --smooth '6 pix'"


def test_stars_are_told_and_written_and_can_be_given_again(skyfold, files):
    files.observation()
    (files.folder / "field=1.stars").write_text("10 12 14.0\n20.4 9.7 15.5\n")
    ended = skyfold.accepts(f"run counts.fits {OPTIONS} --stars field=1.stars -o out")
    assert "stars     2, x and y counted from 1; fluxes in ct" in ended.out
    assert "fitted    stars" not in ended.out
    stars = Table.read(files.folder / "out" / "stars.ecsv")
    np.testing.assert_allclose(stars["x"], [9, 19.4])
    assert np.all(np.isfinite(stars["flux_error"]))
    assert (files.folder / "out" / "stars.reg").read_text().startswith("# Region file")
    with fits.open(files.folder / "out" / "result.fits") as hdus:
        assert hdus["TOTAL"].data.sum() > hdus[0].data.sum()
    assert "<h2>Stars</h2>" in (files.folder / "out" / "report.html").read_text()
    again = f"run counts.fits {OPTIONS} --stars out/stars.ecsv --stars.errors false -o again"
    ended = skyfold.accepts(again, says=("no errors: not asked for",))
    assert "stars     2, x and y counted from 0" in ended.out
    twice = Table.read(files.folder / "again" / "stars.ecsv")
    np.testing.assert_allclose(twice["flux"], stars["flux"], rtol=1e-2, atol=1)
    np.testing.assert_array_equal(twice["first_flux"], stars["flux"])
    skyfold.accepts("compare out again", says=("their flux",))
