"""Arguments as the tasks took them."""

import pytest

from skyfold.errors import ConfigError, FileError
from skyfold_hst.arguments import parsed
from skyfold_hst.tasks import Acoadd, Cplucy, Lucy, Plucy

# as the help page prints the parameters of its example
PAGE = """\
data = "qso_b" Input data image
psfs = "psf_b" Input Point-Spread-Function images
fracent = "0.1" Fractional strength of entropy term
niter = 100 Number of iterations
decon = "qso_b_pa100" Deconvolved output image
starlist = "qso_b.stars" File containing list of star positions
(back = "qso_b_pa100_back") Smooth background output image
(outtab = "") Output text list file
(verbose = yes) Display details of what is being performed?
(accel = yes) Use the accelerated algorithm?
(magzero = "20") Magnitude zero point
(fprior = yes) Floating Prior?
(skernel = "1") Width of smoothing kernel
(xsubsam = 2) Sub-sampling in X
(ysubsam = 2) Sub-sampling in Y
(modpsf = no) Modify the PSF?
(outpsf = "") Output PSF image if it has been modified
(mode = "ql")
"""


def plucy(words):
    return parsed(words.split(), Plucy, "plucy")


def test_positions_and_names():
    task = plucy("qso_b psf_b 0.2 100 out qso_b.stars back=qso_b_back skernel=1 xsubsam=2")
    assert (task.data, task.psfs, task.fracent, task.niter) == ("qso_b", "psf_b", 0.2, 100)
    assert (task.decon, task.starlist, task.back) == ("out", "qso_b.stars", "qso_b_back")
    assert (task.skernel, task.xsubsam, task.ysubsam) == (1.0, 2, 1)


def test_defaults_are_those_of_the_help_page():
    task = plucy("data=a psfs=b decon=c")
    assert (task.fracent, task.skernel, task.magzero) == (0.1, 10.0, 20.0)
    assert task.accel
    assert task.fprior
    assert task.verbose
    assert not task.modpsf
    assert task.starlist is None


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("accel=yes", True),
        ("accel=no", False),
        ("accel+", True),
        ("accel-", False),
        ("acc-", False),
    ],
)
def test_switches(words, value):
    assert plucy(f"data=a psfs=b decon=c {words}").accel is value


def test_a_parameter_file_as_printed(tmp_path):
    (tmp_path / "plucy.par").write_text(PAGE)
    task = plucy(f"par={tmp_path / 'plucy.par'} niter=20")
    assert (task.data, task.psfs, task.decon) == ("qso_b", "psf_b", "qso_b_pa100")
    assert (task.back, task.outtab, task.outpsf) == ("qso_b_pa100_back", None, None)
    assert (task.fracent, task.magzero, task.skernel) == (0.1, 20.0, 1.0)
    assert (task.xsubsam, task.ysubsam, task.niter) == (2, 2, 20)


def test_an_empty_value_takes_one_of_a_file_back(tmp_path):
    (tmp_path / "plucy.par").write_text(PAGE)
    assert plucy(f"par={tmp_path / 'plucy.par'}").starlist == "qso_b.stars"
    assert plucy(f"par={tmp_path / 'plucy.par'} starlist=").starlist is None
    assert parsed(["a", "b", "0.1", "9", "c", " "], Plucy, "plucy").starlist is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("a b 0.1 9 c skernal=2", "unknown key 'skernal'. Did you mean 'skernel'?"),
        ("a b 0.1 9 c f=2", "'f' may be fracent or fprior"),
        ("a b 0.1 9 c ou=2", "'ou' may be outtab or outpsf or out"),
        ("a b 0.1 9 c data=d", "'data' is given twice"),
        ("a b much 9 c", 'fracent: expected a number of at least 0, got "much"'),
        ("a b -1 9 c", "fracent: expected a number of at least 0, got -1"),
        ("a b 0.1 2.5 c", "niter: expected a whole number of at least 0, got 2.5"),
        ("a b 0.1 9 c accel=perhaps", "accel: expected yes or no, got 'perhaps'"),
        ("a b 0.1 9 c skernel=0", "skernel: expected a number greater than 0, got 0"),
        ("a b 0.1", "'decon' is missing"),
    ],
)
def test_what_cannot_be(words, says):
    with pytest.raises(ConfigError) as caught:
        plucy(words)
    assert says.strip() in str(caught.value)
    assert str(caught.value).startswith("skyfold plucy: ")


def test_too_many_words():
    with pytest.raises(ConfigError, match="skyfold acoadd: more: nothing more is expected"):
        parsed(
            ["a", "b", "1", "c", "d", "yes", "yes", "1", "1", "f", "m", "o", "more"],
            Acoadd,
            "acoadd",
        )


def test_errors_in_a_file_name_its_line(tmp_path):
    file = tmp_path / "p.par"
    file.write_text("# comment\ndata = a\n\npsfs = b\ndecon = c\nniter = soon\n")
    with pytest.raises(ConfigError, match=r"p\.par:6: niter: expected a whole number"):
        plucy(f"par={file}")
    file.write_text("data = a\nwhat is this\n")
    with pytest.raises(ConfigError, match=r"p\.par:2: expected name = \"value\""):
        plucy(f"par={file}")
    file.write_text("data = a\ndata = b\n")
    with pytest.raises(ConfigError, match=r"p\.par:2: 'data' is given twice"):
        plucy(f"par={file}")
    with pytest.raises(FileError, match=r"none\.par"):
        plucy(f"par={tmp_path / 'none.par'}")


NAMES = {
    Plucy: "data psfs fracent niter decon starlist back outtab verbose accel magzero fprior "
    "skernel xsubsam ysubsam modpsf outpsf",
    Cplucy: "data psf starlist fracent niter back starim outtab verbose prf interpol psfsnx psfsny "
    "psfxb psfyb magzero skernel",
    Acoadd: "images psfs niter decon coaddr verbose accel xsubsam ysubsam firstim maskim",
    Lucy: "input psf output adu noise niter limchisq model background weight maskin goodpixval "
    "nsigma maskout accel_method xsizeout ysizeout center nsave update verbose",
}


@pytest.mark.parametrize("task", list(NAMES))
def test_every_name_is_known(task):
    assert set(NAMES[task].split()) <= set(task.__dataclass_fields__)
