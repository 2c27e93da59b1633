// What the element-wise kernels share: the kind of their arrays, and how they divide the work.
#pragma once
#include <algorithm>
#include <pybind11/numpy.h>
#include <vector>

template <class T> using Array = pybind11::array_t<T, pybind11::array::c_style>;

constexpr pybind11::ssize_t chunk = 1024;       // fixed: the order of additions never depends on the threads
constexpr pybind11::ssize_t parallel = 1 << 17; // below this, starting threads costs more than it saves

template <class T> using Loose = pybind11::array_t<T, 0>; // with any strides

// Whether one number, held once, stands for all values (numpy.broadcast_to).
inline bool uniform(const pybind11::array& given) {
  return given.size() > 0 && std::all_of(given.strides(), given.strides() + given.ndim(), [](auto s) { return s == 0; });
}

// The values of an array by chunks, also of a uniform one.
template <class T> class Chunks {
public:
  explicit Chunks(const Loose<T>& given) : held(given) {
    if (uniform(given))
      repeated.assign(chunk, *given.data());
    else if (!(given.flags() & pybind11::array::c_style))
      throw pybind11::type_error("arrays must be contiguous, or one number for all values");
  }
  const T* at(pybind11::ssize_t first) const { return repeated.empty() ? held.data() + first : repeated.data(); }

private:
  Loose<T> held;
  std::vector<T> repeated;
};
