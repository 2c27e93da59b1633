// Element-wise steps that every Poisson algorithm takes, each in one pass over memory.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <vector>

#include "arrays.hpp"
#include "dispatch.hpp"
#include "elementary.hpp"

namespace py = pybind11;

namespace {

// n / x, and log x to a relative 1e-15 for x below 7e307; infinity and NaN both give NaN.
// One division serves the ratio and the logarithm.
SKYFOLD_INLINE double ratio_and_log(double n, double x, double* ratio) {
  const auto [k, m] = take_apart(x);
  const double inverse = 1.0 / (x * (m + 1.0));
  *ratio = n * ((m + 1.0) * inverse);
  return put_together(k, (m - 1.0) * (x * inverse));
}

// The same from float32. log m is in error by 3e-8, as much as the rounding of x itself makes;
// the minimax polynomial of (log(1 + f)/f - 1) / f is within 4e-8. x * 0 hands on infinity and NaN.
SKYFOLD_INLINE double ratio_and_log(float n, float x, float* ratio) {
  const auto [k, m] = take_apart(x);
  *ratio = n / x;
  const float f = m - 1.0f;
  float p = -0.0767360997f;
  p = p * f + 0.127230366f;
  p = p * f - 0.131277308f;
  p = p * f + 0.142048204f;
  p = p * f - 0.166266259f;
  p = p * f + 0.200012352f;
  p = p * f - 0.250007818f;
  p = p * f + 0.333333300f;
  p = p * f - 0.499999976f;
  p = p * f + 1.0f;
  return static_cast<double>(k) * 0.69314718055994530942 + static_cast<double>(p * f + x * 0.0f);
}

// What is found in some bins: sum of n log e, largest and smallest e.
template <class T> struct Found {
  double fit;
  T top, low;
};

template <bool add, class T>
SKYFOLD_INLINE Found<T> ratio_body(const T* n, T* e, const T* b, T floor, T* r, py::ssize_t size) {
  double fit = 0.0;
  T top = 0, low = std::numeric_limits<T>::max();
#pragma omp simd reduction(+ : fit) reduction(max : top) reduction(min : low)
  for (py::ssize_t i = 0; i < size; ++i) {
    const T expected = add ? e[i] + b[i] : e[i];
    if (add) e[i] = expected;
    const T counts = n[i], mu = expected < floor ? floor : expected;
    fit += static_cast<double>(counts) * ratio_and_log(counts, mu, r + i);
    top = top < expected ? expected : top;
    low = expected < low ? expected : low;
  }
  return {fit, top, low};
}

SKYFOLD_CLONES Found<double> ratio_chunk(const double* n, double* e, const double* b, double floor, double* r,
                                         py::ssize_t size) {
  return b ? ratio_body<true>(n, e, b, floor, r, size) : ratio_body<false>(n, e, b, floor, r, size);
}
SKYFOLD_CLONES Found<float> ratio_chunk(const float* n, float* e, const float* b, float floor, float* r,
                                        py::ssize_t size) {
  return b ? ratio_body<true>(n, e, b, floor, r, size) : ratio_body<false>(n, e, b, floor, r, size);
}

// The floor is known only when all expectations have been seen, but few bins lie below it: all
// chunks are computed without it, and those that turn out to need it once more.
template <class T>
double ratio_all(const T* n, T* e, const T* b, T accuracy, T top, T* r, py::ssize_t size,
                 [[maybe_unused]] int threads) {
  constexpr T tiny = std::numeric_limits<T>::min();
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
  std::vector<Found<T>> parts(chunks);
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    parts[c] = ratio_chunk(n + at, e + at, b ? b + at : b, tiny, r + at, std::min(chunk, size - at));
  }
  for (const auto& part : parts) top = std::max(top, part.top);
  const T floor = std::max(accuracy * top, tiny);
  double fit = 0.0;
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    if (parts[c].low < floor)
      parts[c] = ratio_chunk(n + at, e + at, static_cast<const T*>(nullptr), floor, r + at, std::min(chunk, size - at));
    fit += parts[c].fit;
  }
  return fit;
}

// What is found along a line in some bins: sums of n log m, n q / m and n q^2 / m^2 with m = e + a q;
// largest m, smallest m, and smallest m of the bins with counts.
struct Along {
  double fit, slope, bend, top, low, held;
};

template <class T>
SKYFOLD_INLINE Along along_body(const T* n, const T* e, const T* q, double a, double floor, py::ssize_t size) {
  constexpr double most = std::numeric_limits<double>::max();
  double fit = 0.0, slope = 0.0, bend = 0.0, top = 0.0, low = most, held = most;
#pragma omp simd reduction(+ : fit, slope, bend) reduction(max : top) reduction(min : low, held)
  for (py::ssize_t i = 0; i < size; ++i) {
    const double counts = n[i], d = q[i], expected = static_cast<double>(e[i]) + a * d;
    const double m = expected < floor ? floor : expected;
    double inverse;
    fit += counts * ratio_and_log(1.0, m, &inverse);
    const double rise = counts * inverse * d; // zero without counts, however small m is
    slope += rise;
    bend += rise * d * inverse;
    const double mine = counts > 0 ? expected : most;
    top = top < expected ? expected : top;
    low = expected < low ? expected : low;
    held = mine < held ? mine : held;
  }
  return {fit, slope, bend, top, low, held};
}

SKYFOLD_CLONES Along along_chunk(const double* n, const double* e, const double* q, double a, double floor,
                                 py::ssize_t size) {
  return along_body(n, e, q, a, floor, size);
}
SKYFOLD_CLONES Along along_chunk(const float* n, const float* e, const float* q, double a, double floor,
                                 py::ssize_t size) {
  return along_body(n, e, q, a, floor, size);
}

// The floor is found as in ratio_all.
template <class T>
std::array<double, 3> along_all(const T* n, const T* e, const T* q, double a, double accuracy, py::ssize_t size,
                                [[maybe_unused]] int threads) {
  constexpr double tiny = std::numeric_limits<T>::min(), infinity = std::numeric_limits<double>::infinity();
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
  std::vector<Along> parts(chunks);
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    parts[c] = along_chunk(n + at, e + at, q + at, a, tiny, std::min(chunk, size - at));
  }
  double top = 0.0, held = std::numeric_limits<double>::max();
  for (const auto& part : parts) top = std::max(top, part.top), held = std::min(held, part.held);
  const double noise = accuracy * top, floor = std::max(noise, tiny);
  if (held <= -noise) return {-infinity, -infinity, 0.0};
  std::array<double, 3> sums{};
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    if (parts[c].low < floor)
      parts[c] = along_chunk(n + at, e + at, q + at, a, floor, std::min(chunk, size - at));
    sums[0] += parts[c].fit, sums[1] += parts[c].slope, sums[2] += parts[c].bend;
  }
  return sums;
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

template <class T, class U> SKYFOLD_INLINE double dot_body(const T* a, const U* b, py::ssize_t size) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (py::ssize_t i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

SKYFOLD_CLONES double dot_chunk(const double* a, const double* b, py::ssize_t size) { return dot_body(a, b, size); }
SKYFOLD_CLONES double dot_chunk(const float* a, const float* b, py::ssize_t size) { return dot_body(a, b, size); }
SKYFOLD_CLONES double dot_chunk(const float* a, const double* b, py::ssize_t size) { return dot_body(a, b, size); }

} // namespace

// expectation += others, ratio = n / e, and the sum of n log e. Expectations below
// accuracy * max(e) are rounding noise and are raised to it in ratio and sum, with `top` the largest
// e of bins that are not given; a bin without counts has ratio zero whatever its expectation. A NaN
// in any expectation makes the sum NaN.
template <class T>
double poisson_ratio(const Array<T>& counts, Array<T>& expectation, double accuracy, Array<T>& ratio,
                     const std::optional<Array<T>>& others, int threads, double top) {
  const py::ssize_t size = counts.size();
  if (expectation.size() != size || ratio.size() != size || (others && others->size() != size))
    throw py::value_error("counts, expectation, ratio and others must have the same number of bins");
  if (threads < 1) throw py::value_error("threads must be at least 1");
  const T *n = counts.data(), *b = others ? others->data() : nullptr;
  // without others the expectation is only read, and may be a read-only array
  T *e = b ? expectation.mutable_data() : const_cast<T*>(expectation.data()), *r = ratio.mutable_data();
  py::gil_scoped_release unlocked;
  return ratio_all(n, e, b, static_cast<T>(accuracy), static_cast<T>(top), r, size, threads);
}

// Sums of n log m, n q / m and n q^2 / m^2 with m = expectation + step * q: a log-likelihood along a
// line, its slope and minus its second derivative, but for the terms linear in the step. What is below
// accuracy * max(m) is raised to it; if a bin with counts is less than minus that, or zero where
// all digits hold, the sums are minus infinity. In double, whatever the type of the arrays.
template <class T>
std::array<double, 3> poisson_along(const Array<T>& counts, const Array<T>& expectation, const Array<T>& direction,
                                    double step, double accuracy, int threads) {
  const py::ssize_t size = counts.size();
  if (expectation.size() != size || direction.size() != size)
    throw py::value_error("counts, expectation and direction must have the same number of bins");
  if (threads < 1) throw py::value_error("threads must be at least 1");
  const T *n = counts.data(), *e = expectation.data(), *q = direction.data();
  py::gil_scoped_release unlocked;
  return along_all(n, e, q, step, accuracy, size, threads);
}

// out = x * back / s, never below zero, and zero where nothing is ever seen (s = 0).
template <class T>
void em_update(const Array<T>& values, const Array<T>& back, const Loose<T>& sensitivity, Array<T>& out,
               [[maybe_unused]] int threads) {
  const py::ssize_t size = values.size();
  if (back.size() != size || sensitivity.size() != size || out.size() != size)
    throw py::value_error("values, back, sensitivity and out must have the same size");
  if (threads < 1) throw py::value_error("threads must be at least 1");
  const T *x = values.data(), *b = back.data();
  const Chunks<T> s(sensitivity);
  T* y = out.mutable_data();
  py::gil_scoped_release unlocked;
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) {
    const py::ssize_t at = c * chunk;
    update_chunk(x + at, b + at, s.at(at), y + at, std::min(chunk, size - at));
  }
}

// The sum of a times b, in double, whatever the type of the arrays, and without an array of the products.
template <class T, class U> double dot(const Loose<T>& one, const Array<U>& other) {
  const py::ssize_t size = one.size();
  if (other.size() != size) throw py::value_error("both must have the same size");
  const Chunks<T> a(uniform(one) ? one : Loose<T>(Array<T>(one)));
  const U* b = other.data();
  py::gil_scoped_release unlocked;
  double sum = 0.0;
  for (py::ssize_t at = 0; at < size; at += chunk) sum += dot_chunk(a.at(at), b + at, std::min(chunk, size - at));
  return sum;
}

template <class T, class U> void bind_dot(py::module_& m) {
  m.def("dot", &dot<T, U>, py::arg("one"), py::arg("other"));
}

template <class T> void bind(py::module_& m) {
  m.def("poisson_ratio", &poisson_ratio<T>, py::arg("counts").noconvert(), py::arg("expectation").noconvert(),
        py::arg("accuracy"), py::arg("ratio").noconvert(), py::arg("others").noconvert() = py::none(),
        py::arg("threads") = 1, py::arg("top") = 0.0);
  m.def("poisson_along", &poisson_along<T>, py::arg("counts").noconvert(), py::arg("expectation").noconvert(),
        py::arg("direction").noconvert(), py::arg("step"), py::arg("accuracy"), py::arg("threads") = 1);
  m.def("em_update", &em_update<T>, py::arg("values").noconvert(), py::arg("back").noconvert(),
        py::arg("sensitivity").noconvert(), py::arg("out").noconvert(), py::arg("threads") = 1);
}

void bind_attribute(py::module_& m);
void bind_conjugate(py::module_& m);
void bind_draws(py::module_& m);
void bind_entropy(py::module_& m);
void bind_trees(py::module_& m);
void bind_tree_slopes(py::module_& m);
void bind_transfer(py::module_& m);

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled element-wise steps of skyfold";
  bind<double>(m);
  bind<float>(m);
  bind_dot<double, double>(m);
  bind_dot<float, float>(m);
  bind_dot<float, double>(m);
  bind_attribute(m);
  bind_conjugate(m);
  bind_draws(m);
  bind_entropy(m);
  bind_trees(m);
  bind_tree_slopes(m);
  bind_transfer(m);
}
