// What the element-wise kernels share: the kind of their arrays, and how they divide the work.
#pragma once
#include <pybind11/numpy.h>

template <class T> using Array = pybind11::array_t<T, pybind11::array::c_style>;

constexpr pybind11::ssize_t chunk = 1024;       // fixed: the order of additions never depends on the threads
constexpr pybind11::ssize_t parallel = 1 << 17; // below this, starting threads costs more than it saves
