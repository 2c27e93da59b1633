"""The commands plucy, cplucy, acoadd and lucy: what was typed for Hubble, done by skyfold."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from skyfold import options
from skyfold.checking import as_number
from skyfold.errors import ConfigError
from skyfold.parameters import summary
from skyfold.source_files import read_sources
from skyfold.sources import Sources
from skyfold_hst import outputs, tasks
from skyfold_hst.arguments import parsed
from skyfold_hst.better_psf import better_psf
from skyfold_hst.frames import SKY
from skyfold_hst.outputs import image_name, image_names, new_image
from skyfold_hst.running import BANNERS, Run, Saves
from skyfold_image.reading import read_image

T = TypeVar("T")


def _plucy(task: tasks.Plucy) -> None:
    psfs, listed = image_names(task.psfs), _listed(task.starlist, task.magzero)
    decon, back, outpsf = (new_image(n) for n in (task.decon, task.back, task.outpsf))
    table = None if task.outtab is None else Path(task.outtab)
    writes = {"decon": decon, "back": back, "outtab": table, "outpsf": outpsf}
    if task.modpsf and (outpsf is None or listed is None):
        raise ConfigError("modpsf=yes needs outpsf, for the new PSF, and stars in starlist")
    if outpsf is not None and not task.modpsf:
        raise ConfigError("outpsf is written only with modpsf=yes")
    if table is not None and listed is None:
        raise ConfigError("outtab is a table of stars, but there is no starlist")
    run = Run("plucy", task.out, decon, task.verbose, writes)
    entry = {
        "instrument": "plucy",
        "counts": image_name(task.data),
        "psf": psfs if len(psfs) > 1 else psfs[0],
        "stars": task.starlist,
        "magzero": task.magzero,
        "block": [task.xsubsam, task.ysubsam],
    }
    if outpsf is not None:
        run.say(
            "psf       first restored, blindly: by turns with the stars of the list and the sky"
        )
        told = better_psf({k: v for k, v in entry.items() if k != "instrument"}, outpsf)
        run.say(f"  {told}; written {outpsf}")
        entry["psf"] = [str(outpsf), *psfs[1:]] if psfs[1:] else str(outpsf)
    method = {
        "name": "plucy",
        "strength": task.fracent,
        "sigma": task.skernel,
        "floating": task.fprior,
        "accelerate": task.accel,
    }
    result = run.made([entry], method, task.niter, magzero=task.magzero)
    image = outputs.total_image(result)
    outputs.write_images(result, [(decon, image), (back, result.model[SKY])])
    if table is not None and listed is not None:
        header = {
            **_settings("plucy", task.data, task.psfs, task.fracent, task.niter),
            "Restored image": task.decon,
            "Star list": task.starlist,
            "Prior": "floating" if task.fprior else "constant",
            "Standard deviation of its blur": f"{task.skernel:g} pixels",
            "Acceleration": "yes" if getattr(result.state, "accelerating", False) else "no",
            "Magnitude of one count": f"{task.magzero:g}",
        }
        outputs.write_table(result, listed, table, header)
    run.end()


def _cplucy(task: tasks.Cplucy) -> None:
    listed = _listed(task.starlist, task.magzero)
    decon, back, stars = (new_image(n) for n in (task.decon, task.back, task.starim))
    table = None if task.outtab is None else Path(task.outtab)
    if listed is None and (table or stars):
        raise ConfigError("outtab and starim are of stars, but there is no starlist")
    writes = {"decon": decon, "back": back, "starim": stars, "outtab": table}
    run = Run("cplucy", task.out, decon or back or stars, task.verbose, writes)
    entry = {
        "instrument": "plucy",
        "counts": image_name(task.data),
        "psf": image_name(task.psf),
        "stars": task.starlist,
        "magzero": task.magzero,
        "shift": "exact" if task.interpol == "spline3" else task.interpol,
        "box": [task.psfsnx, task.psfsny],
        "pixel_response": task.prf,
    }
    method = {"name": "plucy", "strength": task.fracent, "sigma": task.skernel, "accelerate": False}
    if task.interpol == "spline3":
        run.say("stars     shifted exactly, by the Fourier transform, instead of by splines")
    elif task.interpol in ("nearest", "linear"):
        run.say("stars     interpol=exact has not the bias of this interpolation, some percent")
    result = run.made([entry], method, task.niter, magzero=task.magzero)
    images = [(decon, outputs.total_image(result)), (back, result.model[SKY])]
    if stars is not None:
        images.append((stars, outputs.star_image(result)))
    outputs.write_images(result, images)
    if table is not None and listed is not None:
        header = {
            **_settings("cplucy", task.data, task.psf, task.fracent, task.niter),
            "Star list": task.starlist,
            "Standard deviation of the blur": f"{task.skernel:g} pixels",
            "Interpolation of the PSF": task.interpol,
            "Response of a pixel of WFPC2": "yes" if task.prf else "no",
            "Magnitude of one count": f"{task.magzero:g}",
        }
        outputs.write_table(result, listed, table, header)
    run.end()


def _acoadd(task: tasks.Acoadd) -> None:
    images, psfs = image_names(task.images), image_names(task.psfs)
    if len(images) != len(psfs):
        raise ConfigError(f"{len(images)} images but {len(psfs)} PSFs: give one for each")
    decon = new_image(task.decon)
    again = [new_image(task.coaddr and f"{task.coaddr}_{i + 1}") for i in range(len(images))]
    writes = {"decon": decon, **{f"coaddr {i}": path for i, path in enumerate(again, 1)}}
    run = Run("acoadd", task.out, decon, task.verbose, writes)
    mask = None if task.maskim is None else image_name(task.maskim)
    first = None if task.firstim is None else image_name(task.firstim)
    totals = [float(np.maximum(read_image(image).values, 0).sum()) for image in images]
    entries = [
        {
            "instrument": "plucy",
            "counts": image,
            "psf": psf,
            "block": [task.xsubsam, task.ysubsam],
            "exposure": total / sum(totals) if total else 1.0,
            "mask": mask,
            "start": first,
            "coordinates": i == 0,
        }
        for i, (image, psf, total) in enumerate(zip(images, psfs, totals, strict=True))
    ]
    result = run.made(entries, {"name": "coadd" if task.accel else "rl"}, task.niter)
    sky = result.model[SKY]
    shares = [entry["exposure"] for entry in entries]
    parts = zip(again, result.data.parts, shares, strict=True)
    blurred = [(path, part.whole[SKY].forward(sky) / share) for path, part, share in parts]
    outputs.write_images(result, [(decon, sky), *blurred])
    run.end()


def _lucy(task: tasks.Lucy) -> None:
    output, mask = new_image(task.output), new_image(task.maskout)
    run = Run("lucy", task.out, output, task.verbose, {"output": output, "maskout": mask})
    number = None if task.background is None else as_number(task.background)
    others = {"weight": task.weight, "mask": task.maskin, "start": task.model}
    background = number if number is not None or task.background is None else task.background
    if isinstance(background, str):
        background = image_name(background)
    entry = {
        "instrument": "lucy",
        "counts": image_name(task.input),
        "psf": image_name(task.psf),
        "adu": task.adu,
        "noise": task.noise,
        "background": background,
        **{key: None if name is None else image_name(name) for key, name in others.items()},
        "good": task.goodpixval,
        "nsigma": task.nsigma,
        "size": [task.xsizeout, task.ysizeout],
        "centred": task.center,
    }
    method: dict[str, Any] = {"name": "rl"}
    if task.accel_method != "none":
        method["acceleration"] = True
        run.say(f"steps     {task.accel_method}: lengthened by the refinement acceleration")
    if task.update:
        run.say("update    the state is stored every five minutes, and on interruption")
    saves = [Saves(output, task.nsave)] if task.nsave and output is not None else []
    stop = {"chi_square": task.limchisq}
    result = run.made([entry], method, task.niter, saves, stop=stop)
    outputs.write_images(result, [(output, result.model[SKY])])
    if mask is not None:
        good = (result.data.parts[0].weight > 0).astype(float)
        outputs.write_images(result, [(mask, good)])
    run.end()


def _listed(name: str | None, magzero: float) -> Sources | None:
    """Return the list of stars as it is."""
    return None if name is None else read_sources(name, magzero=magzero, historical=True)


def _settings(name: str, data: str, psfs: str, fracent: float, niter: int) -> dict[str, object]:
    return {
        "Program": f"{name} of skyfold {version('skyfold')}, {BANNERS[name]}",
        "Data": data,
        "PSF": psfs,
        "Strength of the entropy": f"{fracent:g}",
        "Iterations": niter,
    }


def _command(task: type[T], work: Callable[[T], None]) -> Callable[[list[str]], None]:
    """Return the command of a task, whose help tells its parameters."""
    name = task.__name__.lower()

    def command(words: list[str]) -> None:
        work(parsed(words, task, name))

    lines = []
    for parameter in options.describe(task):
        usual = "" if parameter.required or parameter.default is None else f" ({parameter.default})"
        lines += [f"  {parameter.name}: {parameter.type}{usual}", f"      {parameter.description}"]
    named = "Takes, in this order or as NAME=VALUE, NAME+ and NAME- for yes and no, or par=FILE:"
    command.__doc__ = "\n".join([summary(task), "", named, "", *lines])
    return command


plucy = _command(tasks.Plucy, _plucy)
cplucy = _command(tasks.Cplucy, _cplucy)
acoadd = _command(tasks.Acoadd, _acoadd)
lucy = _command(tasks.Lucy, _lucy)
