"""What cosipy offers under this name: data interfaces, models, algorithms, attitude."""

from skyfold_cosi.cosipy.algorithm import DeconvolutionAlgorithmBase
from skyfold_cosi.cosipy.conversion import CoordsysConversionMatrix
from skyfold_cosi.cosipy.data_interface import DataIF_COSI_DC2, ImageDeconvolutionDataInterfaceBase
from skyfold_cosi.cosipy.deconvolution import ImageDeconvolution
from skyfold_cosi.cosipy.exposure import SpacecraftAttitudeExposureTable
from skyfold_cosi.cosipy.map_richardson_lucy import MAP_RichardsonLucy
from skyfold_cosi.cosipy.model import AllSkyImageModel, ModelBase
from skyfold_cosi.cosipy.richardson_lucy import RichardsonLucy, RichardsonLucySimple

__all__ = [
    "AllSkyImageModel",
    "CoordsysConversionMatrix",
    "DataIF_COSI_DC2",
    "DeconvolutionAlgorithmBase",
    "ImageDeconvolution",
    "ImageDeconvolutionDataInterfaceBase",
    "MAP_RichardsonLucy",
    "ModelBase",
    "RichardsonLucy",
    "RichardsonLucySimple",
    "SpacecraftAttitudeExposureTable",
]
