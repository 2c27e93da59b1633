// Direct convolution with small kernels.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_kernels, m) { m.doc() = "Compiled convolutions"; }
