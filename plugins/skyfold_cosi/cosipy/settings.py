"""What a parameter file of any generation asks of an algorithm."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropy import units as u

from skyfold.document import Document
from skyfold_cosi.dialects import translate

UNBOUNDED = (0.0, 100.0)


@dataclass(frozen=True)
class Settings:
    """Treatments of a step, normalisations, when to stop and what to write.

    Parameters
    ----------
    fit_background
        Whether normalisations are fitted.
    ranges
        Smallest and largest normalisation by name, or one pair for all.
    weighting
        Exponent of the exposure, or None.
    smoothing
        Width of the Gaussian, or None.
    acceleration
        Largest factor, or None.
    statistics, threshold
        What decides the end, and below which rise; a threshold of None never does.
    folder
        Folder to write to, or None.
    only_final_result
        Whether only the last model is written.
    priors
        Options of the priors by the names they have here.
    """

    fit_background: bool = False
    ranges: Any = None
    weighting: float | None = None
    smoothing: u.Quantity | None = None
    acceleration: float | None = None
    statistics: str = "log-likelihood"
    threshold: float | None = None
    folder: Path | None = None
    only_final_result: bool = False
    priors: dict[str, Any] = field(default_factory=dict)

    def range_of(self, key: str) -> tuple[float, float]:
        """Return smallest and largest normalisation of a background."""
        given = self.ranges.get(key) if isinstance(self.ranges, dict) else self.ranges
        low, high = UNBOUNDED if given is None else given
        return float(low), float(high)


def settings(algorithm: str, parameter: Any, strict: bool) -> Settings:
    """Read the parameters of an algorithm.

    Parameters
    ----------
    algorithm
        ``RL``, ``RLsimple`` or ``MAP_RL``.
    parameter
        The section ``deconvolution:parameter``.
    strict
        Whether keys that cosipy does not know are refused; subclasses may have their own.

    Raises
    ------
    ConfigError
        If a value cannot be what it should, or a key is unknown.
    """
    section = {"algorithm": algorithm, "parameter": parameter._config}
    document = Document({"deconvolution": section}, "parameters")
    found = translate(document, ["--reference"], strict=strict)
    assert found is not None
    method, (data,) = found.data["method"], found.data["data"]
    steps = method.get("published") or {}
    smoothing = steps.get("smoothing")
    rules = {"delta_log_likelihood": "log-likelihood", "delta_log_posterior": "log-posterior"}
    ((rule, threshold),) = found.data.get("stop", {"delta_log_likelihood": None}).items()
    layout = found.data.get("layout")
    return Settings(
        data["fit_background"],
        data.get("background_range"),
        steps.get("response_weighting") or method.get("response_weighting", {}).get("power"),
        None if smoothing is None else u.Quantity(smoothing),
        steps.get("acceleration"),
        rules[rule],
        threshold,
        Path(found.data.get("output", "./results")) if layout else None,
        bool(layout and layout["cosipy"]["only_final_result"]),
        method.get("prior", {}),
    )
