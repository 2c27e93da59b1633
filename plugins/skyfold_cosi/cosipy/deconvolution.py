"""The driver: from data and a parameter file to results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from skyfold.document import suggestion
from skyfold_cosi.cosipy.configurator import Configurator
from skyfold_cosi.cosipy.map_richardson_lucy import MAP_RichardsonLucy
from skyfold_cosi.cosipy.model import AllSkyImageModel
from skyfold_cosi.cosipy.richardson_lucy import RichardsonLucy, RichardsonLucySimple

log = logging.getLogger(__name__)


class ImageDeconvolution:
    """Reconstruct an image: set data and parameters, `initialize`, `run_deconvolution`.

    Attributes
    ----------
    model_classes, deconvolution_algorithm_classes
        Classes by the names that parameter files use; add your own.
    """

    model_classes: ClassVar[dict[str, Any]] = {"AllSkyImage": AllSkyImageModel}
    deconvolution_algorithm_classes: ClassVar[dict[str, Any]] = {
        "RL": RichardsonLucy,
        "RLsimple": RichardsonLucySimple,
        "MAP_RL": MAP_RichardsonLucy,
    }

    def __init__(self) -> None:
        self._dataset: Sequence[Any] = ()
        self._mask: Any = None
        self._parameter: Any = None
        self._initial_model: Any = None
        self._deconvolution: Any = None

    def set_dataset(self, dataset: Sequence[Any]) -> None:
        """Set the data.

        Parameters
        ----------
        dataset
            One or more data interfaces.
        """
        self._dataset = dataset

    def set_mask(self, mask: Any) -> None:
        """Set where the model may differ from zero.

        Parameters
        ----------
        mask
            Histogram on the axes of the model, true inside.
        """
        self._mask = mask

    def read_parameterfile(self, parameter_filepath: str | Path) -> None:
        """Read parameters from a YAML file of any release.

        Parameters
        ----------
        parameter_filepath
            The file.
        """
        self._parameter = Configurator.open(parameter_filepath)

    @property
    def dataset(self) -> Sequence[Any]:
        """The data."""
        return self._dataset

    @property
    def parameter(self) -> Any:
        """The parameters, a `Configurator`."""
        return self._parameter

    def override_parameter(self, *args: Any) -> None:
        """Change parameters by text; call `initialize` afterwards.

        Parameters
        ----------
        args
            ``"deconvolution:parameter:iteration_max = 30"``.
        """
        self._parameter.override(*args)

    @property
    def initial_model(self) -> Any:
        """The model to start from; None before `initialize`."""
        if self._initial_model is None:
            log.warning("there is no model before initialize() was called")
        return self._initial_model

    @property
    def mask(self) -> Any:
        """Where the model may differ from zero."""
        return self._mask

    @property
    def results(self) -> list[Any]:
        """One row per iteration, a dictionary."""
        results: list[Any] = self._registered().results
        return results

    def initialize(self) -> None:
        """Make the model and the algorithm; needed before `run_deconvolution`."""
        self.model_initialization()
        self.register_deconvolution_algorithm()

    def model_initialization(self) -> bool:
        """Make the model that the parameters ask for.

        Raises
        ------
        ValueError
            If there is no such class, or its axes are not those of the data.
        """
        name = self.parameter.get("model_definition:class", "AllSkyImage")
        kind = _chosen(self.model_classes, name, "model class")
        model = kind.instantiate_from_parameters(
            self._section("model_definition:property", "model_property")
        )
        model.set_values_from_parameters(
            self._section("model_definition:initialization", "model_initialization")
        )
        if self.mask is not None:
            model = model.mask_pixels(self.mask, 0)
        for data in self.dataset:
            if data.model_axes != model.axes:
                raise ValueError(
                    f"the axes of the model ({_told(model.axes)}) are not those of data set "
                    f"{data.name!r} ({_told(data.model_axes)})"
                )
        self._initial_model = model
        return True

    def register_deconvolution_algorithm(self) -> bool:
        """Make the algorithm that the parameters ask for.

        Raises
        ------
        ValueError
            If there is no such algorithm, or a parameter is wrong.
        """
        name = self.parameter["deconvolution:algorithm"]
        kind = _chosen(self.deconvolution_algorithm_classes, name, "algorithm")
        self._deconvolution = kind(
            initial_model=self.initial_model,
            dataset=self.dataset,
            mask=self.mask,
            parameter=self._section(
                "deconvolution:parameter",
                f"deconvolution:parameter_{name}",
                "deconvolution:parameter_RL",
            ),
        )
        return True

    def run_deconvolution(self) -> list[Any]:
        """Iterate until the algorithm stops, and return the results."""
        from tqdm.auto import tqdm

        algorithm = self._registered()
        algorithm.initialization()
        for _ in tqdm(range(algorithm.iteration_max), disable=None):
            if algorithm.iteration():
                break
        algorithm.finalization()
        return self.results

    def _registered(self) -> Any:
        if self._deconvolution is None:
            raise RuntimeError("call initialize() first: there is no algorithm yet")
        return self._deconvolution

    def _section(self, *names: str) -> Configurator:
        found = [self.parameter.get(name) for name in names]
        return Configurator(next((section for section in found if section), {}))


def _chosen(classes: dict[str, Any], name: str, what: str) -> Any:
    if name not in classes:
        raise ValueError(f"there is no {what} {name!r}. {suggestion(name, classes)}")
    return classes[name]


def _told(axes: Any) -> str:
    return ", ".join(f"{axis.label} {axis.nbins}" for axis in axes)
