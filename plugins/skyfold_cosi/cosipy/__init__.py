"""The classes of cosipy's image deconvolution, for notebooks and subclasses written for it.

Write ``skyfold_cosi.cosipy`` for ``cosipy`` in the import lines, and a notebook runs. Numbers are
those that cosipy publishes (the ``reference`` mode of everything else here); products visit only
the bins that hold counts. New work is better off with ``skyfold.run``, whose defaults are the
correct mathematics.
"""

from skyfold.errors import require
from skyfold_cosi.frame import spacecraft_frame

require("histpy", "healpix")
spacecraft_frame()  # histpy then opens files in the detector frame

from skyfold_cosi.cosipy import image_deconvolution  # noqa: E402
from skyfold_cosi.cosipy.configurator import Configurator  # noqa: E402
from skyfold_cosi.cosipy.data_io import BinnedData  # noqa: E402
from skyfold_cosi.cosipy.image_deconvolution import *  # noqa: E402, F403
from skyfold_cosi.cosipy.response import FullDetectorResponse  # noqa: E402
from skyfold_cosi.cosipy.spacecraftfile import SpacecraftFile  # noqa: E402
from skyfold_cosi.cosipy.util import fetch_wasabi_file  # noqa: E402

__all__ = [
    *image_deconvolution.__all__,
    "BinnedData",
    "Configurator",
    "FullDetectorResponse",
    "SpacecraftFile",
    "fetch_wasabi_file",
]
