// Element-wise steps that every Poisson algorithm takes, each in one pass over memory.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <vector>

#include "dispatch.hpp"

namespace py = pybind11;
template <class T> using Array = py::array_t<T, py::array::c_style>;

namespace {

constexpr py::ssize_t chunk = 1024;       // fixed: the order of additions never depends on the threads
constexpr py::ssize_t parallel = 1 << 17; // below this, starting threads costs more than it saves

// log x for normal positive x, to about one unit in the last place; NaN for infinity and NaN.
// x = 2^k m with m in [sqrt(1/2), sqrt(2)), then log m = 2 artanh s, s = (m - 1) / (m + 1).
SKYFOLD_INLINE double vector_log(double x) {
  constexpr std::int64_t root_half = 0x3fe6a09e667f3bcd, mantissa = 0x000fffffffffffff;
  std::int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const std::int64_t shifted = bits - root_half + 0x3ff0000000000000;
  // 2^52 + (k + 1023) as a double, without an integer conversion, which AVX2 lacks
  const std::int64_t biased = static_cast<std::int64_t>(static_cast<std::uint64_t>(shifted) >> 52) | 0x4330000000000000;
  const std::int64_t reduced = (shifted & mantissa) + root_half;
  double k, m;
  std::memcpy(&k, &biased, sizeof k);
  std::memcpy(&m, &reduced, sizeof m);
  k -= 4503599627370496.0 + 1023.0;
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 21.0;
  p = p * z + 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  return k * ln2_high + (2.0 * s + (2.0 * s * z * p + k * ln2_low)) + (x - x);
}

// What one run over the bins finds: sum of n log e, largest e, smallest e under counts.
template <class T> struct Found {
  double fit;
  T top, low;
};

template <class T>
SKYFOLD_INLINE Found<T> ratio_body(const T* n, T* e, const T* b, T floor, T* r, py::ssize_t size) {
  if (b) {
#pragma omp simd
    for (py::ssize_t i = 0; i < size; ++i) e[i] += b[i];
  }
  double fit = 0.0;
  constexpr T huge = std::numeric_limits<T>::max();
  T top = 0, low = huge;
#pragma omp simd reduction(+ : fit) reduction(max : top) reduction(min : low)
  for (py::ssize_t i = 0; i < size; ++i) {
    const T counts = n[i], expected = e[i], mu = expected < floor ? floor : expected;
    r[i] = counts / mu;
    fit += static_cast<double>(counts) * vector_log(static_cast<double>(mu));
    const T held = counts > 0 ? expected : huge;
    top = top < expected ? expected : top;
    low = held < low ? held : low;
  }
  return {fit, top, low};
}

SKYFOLD_CLONES Found<double> ratio_chunk(const double* n, double* e, const double* b, double floor, double* r,
                                         py::ssize_t size) {
  return ratio_body(n, e, b, floor, r, size);
}
SKYFOLD_CLONES Found<float> ratio_chunk(const float* n, float* e, const float* b, float floor, float* r,
                                        py::ssize_t size) {
  return ratio_body(n, e, b, floor, r, size);
}

template <class T>
Found<T> ratio_pass(const T* n, T* e, const T* b, T floor, T* r, py::ssize_t size, [[maybe_unused]] int threads) {
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
  std::vector<Found<T>> parts(chunks);
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    parts[c] = ratio_chunk(n + at, e + at, b ? b + at : b, floor, r + at, std::min(chunk, size - at));
  }
  Found<T> all{0.0, T(0), std::numeric_limits<T>::max()};
  for (const auto& part : parts) {
    all.fit += part.fit;
    all.top = std::max(all.top, part.top);
    all.low = std::min(all.low, part.low);
  }
  return all;
}

template <class T> SKYFOLD_INLINE void update_body(const T* x, const T* b, const T* s, T* y, py::ssize_t size) {
#pragma omp simd
  for (py::ssize_t i = 0; i < size; ++i) {
    const T value = x[i] * b[i] / s[i];
    y[i] = s[i] <= 0 || value < 0 ? T(0) : value;
  }
}

SKYFOLD_CLONES void update_chunk(const double* x, const double* b, const double* s, double* y, py::ssize_t size) {
  update_body(x, b, s, y, size);
}
SKYFOLD_CLONES void update_chunk(const float* x, const float* b, const float* s, float* y, py::ssize_t size) {
  update_body(x, b, s, y, size);
}

} // namespace

// expectation += others, ratio = n / e, and the sum of n log e. Expectations below
// accuracy * max(e) are rounding noise and are raised to it in ratio and sum; a bin without counts
// has ratio zero whatever its expectation. A NaN in any expectation makes the sum NaN.
template <class T>
double poisson_ratio(const Array<T>& counts, Array<T>& expectation, double accuracy, Array<T>& ratio,
                     const std::optional<Array<T>>& others, int threads) {
  const py::ssize_t size = counts.size();
  if (expectation.size() != size || ratio.size() != size || (others && others->size() != size))
    throw py::value_error("counts, expectation, ratio and others must have the same number of bins");
  if (threads < 1) throw py::value_error("threads must be at least 1");
  const T *n = counts.data(), *b = others ? others->data() : nullptr;
  // without others the expectation is only read, and may be a read-only array
  T *e = b ? expectation.mutable_data() : const_cast<T*>(expectation.data()), *r = ratio.mutable_data();
  py::gil_scoped_release unlocked;
  constexpr T tiny = std::numeric_limits<T>::min();
  Found<T> found = ratio_pass(n, e, b, tiny, r, size, threads);
  const T floor = static_cast<T>(accuracy) * found.top;
  if (found.low < floor) found = ratio_pass<T>(n, e, nullptr, floor, r, size, threads); // rarely needed
  return found.fit;
}

// out = x * back / s, never below zero, and zero where nothing is ever seen (s = 0).
template <class T>
void em_update(const Array<T>& values, const Array<T>& back, const Array<T>& sensitivity, Array<T>& out,
               [[maybe_unused]] int threads) {
  const py::ssize_t size = values.size();
  if (back.size() != size || sensitivity.size() != size || out.size() != size)
    throw py::value_error("values, back, sensitivity and out must have the same size");
  if (threads < 1) throw py::value_error("threads must be at least 1");
  const T *x = values.data(), *b = back.data(), *s = sensitivity.data();
  T* y = out.mutable_data();
  py::gil_scoped_release unlocked;
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    update_chunk(x + at, b + at, s + at, y + at, std::min(chunk, size - at));
  }
}

template <class T> void bind(py::module_& m) {
  m.def("poisson_ratio", &poisson_ratio<T>, py::arg("counts").noconvert(), py::arg("expectation").noconvert(),
        py::arg("accuracy"), py::arg("ratio").noconvert(), py::arg("others").noconvert() = py::none(),
        py::arg("threads") = 1);
  m.def("em_update", &em_update<T>, py::arg("values").noconvert(), py::arg("back").noconvert(),
        py::arg("sensitivity").noconvert(), py::arg("out").noconvert(), py::arg("threads") = 1);
}

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled element-wise steps of skyfold";
  bind<double>(m);
  bind<float>(m);
}
