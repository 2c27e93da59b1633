// The vector work of conjugate gradients between bounds, in two passes over memory.
#include <algorithm>
#include <limits>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "dispatch.hpp"

namespace py = pybind11;

namespace {

using Pair = std::pair<double, double>;

template <class T> struct Bounds {
  T low, high;
};

template <class T>
SKYFOLD_INLINE Pair scaled_body(const T* x, const T* b, const T* s, T floor, Bounds<T> bounds, const T* last, T* g,
                                T* z, py::ssize_t size) {
  double rise = 0.0, mixed = 0.0;
#pragma omp simd reduction(+ : rise, mixed)
  for (py::ssize_t i = 0; i < size; ++i) {
    // one choice per condition: two on the same one would become a branch, and no vector loop
    const T here = x[i], on = s[i] > 0 ? T(1) : T(0);
    const T slope = on * (b[i] - s[i]), per = s[i] + (T(1) - on);
    const T enough = std::max(here, floor), up = std::min(enough, bounds.high - here), down = here - bounds.low;
    const T scaled = (slope > 0 ? up : down) * (slope / per);
    g[i] = slope;
    z[i] = scaled;
    rise += static_cast<double>(scaled) * static_cast<double>(slope);
    mixed += static_cast<double>(scaled) * static_cast<double>(last[i]);
  }
  return {rise, mixed};
}

SKYFOLD_CLONES Pair scaled_chunk(const double* x, const double* b, const double* s, double floor,
                                 Bounds<double> bounds, const double* last, double* g, double* z, py::ssize_t size) {
  return scaled_body(x, b, s, floor, bounds, last, g, z, size);
}
SKYFOLD_CLONES Pair scaled_chunk(const float* x, const float* b, const float* s, float floor, Bounds<float> bounds,
                                 const float* last, float* g, float* z, py::ssize_t size) {
  return scaled_body(x, b, s, floor, bounds, last, g, z, size);
}

template <class T>
SKYFOLD_INLINE Pair direction_body(const T* x, const T* z, const T* g, const T* last, T beta, T per, Bounds<T> bounds,
                                   T* p, py::ssize_t size) {
  constexpr T none = std::numeric_limits<T>::infinity();
  double uphill = 0.0;
  T reach = none;
#pragma omp simd reduction(+ : uphill) reduction(min : reach)
  for (py::ssize_t i = 0; i < size; ++i) {
    // a masked value may lie outside the bounds: it stays where it is
    const T down = std::max(x[i] - bounds.low, T(0)), up = std::max(bounds.high - x[i], T(0));
    T move = z[i] + beta * last[i];
    move = move < -down * per ? -down * per : move;
    move = move > up * per ? up * per : move;
    p[i] = move;
    uphill += static_cast<double>(move) * static_cast<double>(g[i]);
    const T room = move < 0 ? down : up, pace = move < 0 ? -move : move;
    const T far = pace > 0 ? room / pace : none;
    reach = far < reach ? far : reach;
  }
  return {uphill, static_cast<double>(reach)};
}

SKYFOLD_CLONES Pair direction_chunk(const double* x, const double* z, const double* g, const double* last, double beta,
                                    double per, Bounds<double> bounds, double* p, py::ssize_t size) {
  return direction_body(x, z, g, last, beta, per, bounds, p, size);
}
SKYFOLD_CLONES Pair direction_chunk(const float* x, const float* z, const float* g, const float* last, float beta,
                                    float per, Bounds<float> bounds, float* p, py::ssize_t size) {
  return direction_body(x, z, g, last, beta, per, bounds, p, size);
}

template <class T>
SKYFOLD_INLINE Pair unscaled_body(const T* x, const T* z, const T* s, const T* last, T* g, py::ssize_t size) {
  double rise = 0.0, mixed = 0.0;
#pragma omp simd reduction(+ : rise, mixed)
  for (py::ssize_t i = 0; i < size; ++i) {
    const T slope = x[i] > 0 ? z[i] * s[i] / x[i] : T(0);
    g[i] = slope;
    rise += static_cast<double>(z[i]) * static_cast<double>(slope);
    mixed += static_cast<double>(z[i]) * static_cast<double>(last[i]);
  }
  return {rise, mixed};
}

SKYFOLD_CLONES Pair unscaled_chunk(const double* x, const double* z, const double* s, const double* last, double* g,
                                   py::ssize_t size) {
  return unscaled_body(x, z, s, last, g, size);
}
SKYFOLD_CLONES Pair unscaled_chunk(const float* x, const float* z, const float* s, const float* last, float* g,
                                   py::ssize_t size) {
  return unscaled_body(x, z, s, last, g, size);
}

template <class Chunk> std::vector<Pair> over_chunks(py::ssize_t size, [[maybe_unused]] int threads, Chunk&& one) {
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
  std::vector<Pair> parts(chunks);
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) parts[c] = one(c * chunk, std::min(chunk, size - c * chunk));
  return parts;
}

template <class... Arrays> void require(py::ssize_t size, int threads, const Arrays&... arrays) {
  if (((arrays.size() != size) || ...)) throw py::value_error("all arrays must have the same size");
  if (threads < 1) throw py::value_error("threads must be at least 1");
}

} // namespace

// slope g = back - s; scaled z = D g, with D = x / s for a value that falls, max(x, floor) / s for one
// that rises, and not beyond its bounds; zero where s = 0. Returns z . g and z . last.
template <class T>
Pair scaled_slope(const Array<T>& values, const Array<T>& back, const Loose<T>& sensitivity, double floor, double low,
                  double high, const Array<T>& last, Array<T>& slope, Array<T>& scaled, int threads) {
  const py::ssize_t size = values.size();
  require(size, threads, back, sensitivity, last, slope, scaled);
  const T *x = values.data(), *b = back.data(), *o = last.data();
  const Chunks<T> s(sensitivity);
  T *g = slope.mutable_data(), *z = scaled.mutable_data();
  const Bounds<T> bounds{static_cast<T>(low), static_cast<T>(high)};
  py::gil_scoped_release unlocked;
  Pair sums{0.0, 0.0};
  const auto parts = over_chunks(size, threads, [&](py::ssize_t at, py::ssize_t n) {
    return scaled_chunk(x + at, b + at, s.at(at), static_cast<T>(floor), bounds, o + at, g + at, z + at, n);
  });
  for (const auto& [rise, mixed] : parts) sums.first += rise, sums.second += mixed;
  return sums;
}

// out = scaled + beta * last, cut so that `length` of it stays within the bounds. Returns out . slope,
// and how much of it stays within the bounds.
template <class T>
Pair conjugate_direction(const Array<T>& values, const Array<T>& scaled, const Array<T>& slope, const Array<T>& last,
                         double beta, double length, double low, double high, Array<T>& out, int threads) {
  const py::ssize_t size = values.size();
  require(size, threads, scaled, slope, last, out);
  const T *x = values.data(), *z = scaled.data(), *g = slope.data(), *o = last.data();
  T* p = out.mutable_data();
  const Bounds<T> bounds{static_cast<T>(low), static_cast<T>(high)};
  const T per = static_cast<T>(1.0 / length);
  py::gil_scoped_release unlocked;
  Pair found{0.0, std::numeric_limits<double>::infinity()};
  const auto parts = over_chunks(size, threads, [&](py::ssize_t at, py::ssize_t n) {
    return direction_chunk(x + at, z + at, g + at, o + at, static_cast<T>(beta), per, bounds, p + at, n);
  });
  for (const auto& [uphill, reach] : parts) found.first += uphill, found.second = std::min(found.second, reach);
  return found;
}

// slope g = z s / x of a step z that is scaled by x / s. Returns z . g and z . last.
template <class T>
Pair unscaled_slope(const Array<T>& values, const Array<T>& scaled, const Loose<T>& sensitivity, const Array<T>& last,
                    Array<T>& slope, int threads) {
  const py::ssize_t size = values.size();
  require(size, threads, scaled, sensitivity, last, slope);
  const T *x = values.data(), *z = scaled.data(), *o = last.data();
  const Chunks<T> s(sensitivity);
  T* g = slope.mutable_data();
  py::gil_scoped_release unlocked;
  Pair sums{0.0, 0.0};
  const auto parts = over_chunks(size, threads, [&](py::ssize_t at, py::ssize_t n) {
    return unscaled_chunk(x + at, z + at, s.at(at), o + at, g + at, n);
  });
  for (const auto& [rise, mixed] : parts) sums.first += rise, sums.second += mixed;
  return sums;
}

template <class T> void bind_conjugate_of(py::module_& m) {
  m.def("scaled_slope", &scaled_slope<T>, py::arg("values").noconvert(), py::arg("back").noconvert(),
        py::arg("sensitivity").noconvert(), py::arg("floor"), py::arg("low"), py::arg("high"),
        py::arg("last").noconvert(), py::arg("slope").noconvert(), py::arg("scaled").noconvert(),
        py::arg("threads") = 1);
  m.def("unscaled_slope", &unscaled_slope<T>, py::arg("values").noconvert(), py::arg("scaled").noconvert(),
        py::arg("sensitivity").noconvert(), py::arg("last").noconvert(), py::arg("slope").noconvert(),
        py::arg("threads") = 1);
  m.def("conjugate_direction", &conjugate_direction<T>, py::arg("values").noconvert(), py::arg("scaled").noconvert(),
        py::arg("slope").noconvert(), py::arg("last").noconvert(), py::arg("beta"), py::arg("length"), py::arg("low"),
        py::arg("high"), py::arg("out").noconvert(), py::arg("threads") = 1);
}

void bind_conjugate(py::module_& m) {
  bind_conjugate_of<double>(m);
  bind_conjugate_of<float>(m);
}
