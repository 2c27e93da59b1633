"""The classes of cosipy's image deconvolution, for notebooks and subclasses written for it.

Change the import lines of a notebook to ``from skyfold_cosi.cosipy import ...``. Numbers are those
that cosipy publishes (the ``reference`` mode of everything else here); products visit only the bins
that hold counts. New work is better off with ``skyfold.run``, whose defaults are the correct
mathematics.
"""

from skyfold.errors import require
from skyfold_cosi.frame import spacecraft_frame

require("histpy", "healpix")
spacecraft_frame()  # histpy then opens files in the detector frame

from skyfold_cosi.cosipy.algorithm import DeconvolutionAlgorithmBase  # noqa: E402
from skyfold_cosi.cosipy.binned_data import BinnedData  # noqa: E402
from skyfold_cosi.cosipy.configurator import Configurator  # noqa: E402
from skyfold_cosi.cosipy.conversion import CoordsysConversionMatrix  # noqa: E402
from skyfold_cosi.cosipy.data_interface import (  # noqa: E402
    DataIF_COSI_DC2,
    ImageDeconvolutionDataInterfaceBase,
)
from skyfold_cosi.cosipy.deconvolution import ImageDeconvolution  # noqa: E402
from skyfold_cosi.cosipy.exposure import SpacecraftAttitudeExposureTable  # noqa: E402
from skyfold_cosi.cosipy.map_richardson_lucy import MAP_RichardsonLucy  # noqa: E402
from skyfold_cosi.cosipy.model import AllSkyImageModel, ModelBase  # noqa: E402
from skyfold_cosi.cosipy.response import FullDetectorResponse  # noqa: E402
from skyfold_cosi.cosipy.richardson_lucy import RichardsonLucy, RichardsonLucySimple  # noqa: E402
from skyfold_cosi.cosipy.spacecraft import SpacecraftFile  # noqa: E402
from skyfold_cosi.cosipy.util import fetch_wasabi_file  # noqa: E402

__all__ = [
    "AllSkyImageModel",
    "BinnedData",
    "Configurator",
    "CoordsysConversionMatrix",
    "DataIF_COSI_DC2",
    "DeconvolutionAlgorithmBase",
    "FullDetectorResponse",
    "ImageDeconvolution",
    "ImageDeconvolutionDataInterfaceBase",
    "MAP_RichardsonLucy",
    "ModelBase",
    "RichardsonLucy",
    "RichardsonLucySimple",
    "SpacecraftAttitudeExposureTable",
    "SpacecraftFile",
    "fetch_wasabi_file",
]
