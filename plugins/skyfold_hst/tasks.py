"""The parameters of the tasks, by their own names and in their own order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Count = Annotated[int, Field(ge=0)]
Factor = Annotated[int, Field(ge=1, le=16)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Plucy:
    """Stars and a smooth background, told apart (Lucy 1994; Hook & Lucy 1994).

    Parameters
    ----------
    data
        Image of the counts. With sub-sampling each pixel repeated, its light shared among the
        repeats; or as the detector gave it.
    psfs
        Image of the PSF, taken as it is: its pixel (NX/2, NY/2), counted from 1, lies on the star.
        Several, with commas, where the list says which star has which; the first is that of the
        background.
    fracent
        Strength of the entropy of the background.
    niter
        Number of iterations.
    decon
        Image to write: background and stars.
    starlist
        List of stars: x, y, magnitude; pixels of the data counted from 1. Without any the whole
        image is background.
    back
        Image to write: the background alone.
    outtab
        Table to write: fluxes and magnitudes.
    verbose
        Tell what goes on.
    accel
        Lengthen the steps; without, this is done from when the objective falls.
    magzero
        Magnitude of one count.
    fprior
        Draw the background to its own blur; else to a constant.
    skernel
        Standard deviation of that blur, in pixels of the restored image.
    xsubsam, ysubsam
        Pixels of the restored image, and of the PSF, for each of the detector.
    modpsf
        First improve the PSF by the stars of the list.
    outpsf
        Image to write: the improved PSF.
    out
        Run folder to write; by default that of decon with _skyfold behind.
    """

    data: str
    psfs: str
    fracent: NotNegative = 0.1
    niter: Count = 50
    decon: str
    starlist: str | None = None
    back: str | None = None
    outtab: str | None = None
    verbose: bool = True
    accel: bool = True
    magzero: float = 20.0
    fprior: bool = True
    skernel: Positive = 10.0
    xsubsam: Factor = 1
    ysubsam: Factor = 1
    modpsf: bool = False
    outpsf: str | None = None
    out: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cplucy:
    """Stars between pixels and a smooth background, told apart.

    Steps are not lengthened.

    Parameters
    ----------
    data
        Image of the counts.
    psf
        Image of the PSF, taken as it is: its pixel (NX/2, NY/2), counted from 1, lies on the star.
    fracent
        Strength of the entropy of the background.
    niter
        Number of iterations.
    starlist
        List of stars: x, y, magnitude; pixels counted from 1. Magnitudes are not looked at: half of
        the counts is shared equally.
    back
        Image to write: the background alone.
    starim
        Image to write: the stars, as the detector sees them.
    outtab
        Table to write: fluxes and magnitudes.
    verbose
        Tell what goes on.
    magzero
        Magnitude of one count.
    skernel
        Standard deviation of the blur of the background, in pixels.
    interpol
        How the PSF is interpolated between its pixels; exact shifts it by its Fourier transform,
        and so does spline3.
    prf
        Blur the stars by the response of a pixel of WFPC2.
    psfsnx, psfsny
        Size of the images of stars that are interpolated.
    psfxb, psfyb
        Sub-sampling of the PSF: only 1.
    decon
        Image to write: background and stars.
    out
        Run folder to write; by default that of the first image written, with _skyfold behind.
    """

    data: str
    psf: str
    fracent: NotNegative = 0.1
    niter: Count = 5
    starlist: str | None = None
    back: str | None = None
    starim: str | None = None
    outtab: str | None = None
    verbose: bool = True
    prf: bool = False
    interpol: Literal["nearest", "linear", "poly3", "poly5", "spline3", "exact"] = "linear"
    psfsnx: Annotated[int, Field(ge=1)] = 21
    psfsny: Annotated[int, Field(ge=1)] = 21
    psfxb: Literal[1] = 1
    psfyb: Literal[1] = 1
    magzero: float = 20.0
    skernel: Positive = 10.0
    decon: str | None = None
    out: str | None = None


@dataclass(frozen=True, kw_only=True)
class Acoadd:
    """Several frames of one scene, restored together.

    Parameters
    ----------
    images
        Images of the counts, with commas, or @FILE with a name in each line.
    psfs
        Their PSFs, in the same order, taken as they are: a frame that is shifted has a PSF whose
        peak is.
    niter
        Number of iterations.
    decon
        Image to write: the scene.
    coaddr
        Beginning of the names of images to write: the scene blurred by each PSF.
    verbose
        Tell what goes on.
    accel
        Lengthen the steps.
    xsubsam, ysubsam
        Pixels of the restored image, and of the PSFs, for each of the detector.
    firstim
        Image to start from; a flat one by default.
    maskim
        Image that is one where the pixels of all frames are good, else zero.
    out
        Run folder to write; by default that of decon with _skyfold behind.
    """

    images: str
    psfs: str
    niter: Count = 20
    decon: str
    coaddr: str | None = None
    verbose: bool = True
    accel: bool = True
    xsubsam: Factor = 1
    ysubsam: Factor = 1
    firstim: str | None = None
    maskim: str | None = None
    out: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lucy:
    """Richardson-Lucy with read noise, masks and a background that was subtracted.

    Parameters
    ----------
    input
        Image of the data, in data numbers.
    psf
        Image of the PSF; its peak is moved to where it belongs.
    output
        Image to write.
    adu
        Electrons per data number.
    noise
        Standard deviation of the read noise, in electrons.
    niter
        Largest number of iterations.
    limchisq
        End when chi-square per pixel has come down to this.
    model
        Image to start from; flat by default.
    background
        What was subtracted from the data: an image, or a number.
    weight
        Image of the weights of the data.
    maskin
        Image of the good pixels.
    goodpixval
        Its value there.
    nsigma
        Pixels so far below zero are bad, too: in sigma of noise and background; 0 for those below
        their sum.
    maskout
        Image to write: the good pixels.
    accel_method
        Lengthen the steps, standard or turbo: both are our search for the largest likelihood along
        the step.
    xsizeout, ysizeout
        Size of the restored image; that of the data by default.
    center
        Put the data in its middle, else in its lower left corner.
    nsave
        Write every so many iterations an image with the number behind the name; 0 for none.
    update
        Every so many iterations the state was stored; now this is done by time.
    verbose
        Tell what goes on.
    out
        Run folder to write; by default that of output with _skyfold behind.
    """

    input: str
    psf: str
    output: str
    adu: Positive = 1.0
    noise: NotNegative = 0.0
    niter: Count = 20
    limchisq: NotNegative = 1.0
    model: str | None = None
    background: str | None = None
    weight: str | None = None
    maskin: str | None = None
    goodpixval: Literal[0, 1] = 1
    nsigma: NotNegative = 5.0
    maskout: str | None = None
    accel_method: Literal["none", "standard", "turbo"] = "standard"
    xsizeout: Count = 0
    ysizeout: Count = 0
    center: bool = True
    nsave: Count = 0
    update: Count = 0
    verbose: bool = True
    out: str | None = None
