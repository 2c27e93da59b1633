"""Helpers around deconvolution: plots, hyper-priors, trace files."""

from skyfold_image.pylira.utils.io import read_image_trace_file, read_parameter_trace_file
from skyfold_image.pylira.utils.plot import (
    plot_example_dataset,
    plot_hyperpriors_lira,
    plot_parameter_distributions,
    plot_parameter_traces,
    plot_pixel_trace,
    plot_pixel_trace_neighbours,
)
from skyfold_image.pylira.utils.priors import f_hyperprior_esch, f_hyperprior_lira

__all__ = [
    "f_hyperprior_esch",
    "f_hyperprior_lira",
    "plot_example_dataset",
    "plot_hyperpriors_lira",
    "plot_parameter_distributions",
    "plot_parameter_traces",
    "plot_pixel_trace",
    "plot_pixel_trace_neighbours",
    "read_image_trace_file",
    "read_parameter_trace_file",
]
