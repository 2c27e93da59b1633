// How a tree shares out its light by coordinates without bounds, and slopes by them.
#include <cmath>
#include <cstdint>
#include <limits>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <vector>

#include "arrays.hpp"
#include "elementary.hpp"

namespace py = pybind11;

namespace {

// What the coordinates of a node make: the logarithm of its Gamma number and its derivatives by both and by that of the
// strength, the log density of the coordinates and its slopes by the same.
struct Made {
  double *log_g, *by_one, *by_two, *by_strength, *density, *slope_one, *slope_two, *slope_strength;
};

// The logarithm of a Gamma number of shape b + 1 as a function of a number z that is about normal, its derivatives,
// and what it adds to the log density of z but for -log Gamma(b + 1): the Gamma number is d h(c z)^3 (Marsaglia & Tsang
// 2000), where h(x) is 1 + x, or below -1/2, so that there is one for every x, the exponential of a parabola.
struct Number {
  double log_g, by_z, by_b, density, slope, slope_b;
};
SKYFOLD_INLINE Number number(double z, double b) {
  const double d = b + 2.0 / 3, c = 1.0 / (3 * std::sqrt(d)), x = c * z, t = x + 0.5;
  const bool up = t > 0;
  const double logarithm = log_of(up ? 1 + x : -4 * x);
  const double h = up ? logarithm : -0.69314718055994530942 + 2 * t - 2 * t * t;
  const double h1 = up ? 1 / (1 + x) : -4 * x, h2 = up ? -h1 * h1 : -4.0; // derivatives of h
  const double u = log_of(d) + 3 * h, left = b + 1 - exp_of(u < 700 ? u : 700.0);
  const double by_z = 3 * c * h1, by_b = (1 - 1.5 * h1 * x) / d;
  return {u,
          by_z,
          by_b,
          (b + 1) * u - (b + 1 - left) + log_of(3 * c) + (up ? -logarithm : logarithm),
          left * by_z + c * h2 / h1,
          u + left * by_b - 0.5 / d * (1 + x * h2 / h1)};
}

// Loose nodes: a Gamma number of shape b is one of shape b + 1 times a uniform one to the power of 1 / b, which is the
// exponential of minus a Gamma number of shape 1. Given b, log Gamma(b + 1) and its derivative.
SKYFOLD_CLONES void loosely(std::int64_t size, const double* one, const double* two, const double* shape,
                            const double* log_gamma, const double* digamma, const Made& made) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    const double b = shape[i];
    const Number first = number(one[i], b), second = number(two[i], 0.0);
    const double e = exp_of(second.log_g < 700 ? second.log_g : 700.0) / b;
    made.log_g[i] = first.log_g - e;
    made.by_one[i] = first.by_z, made.by_two[i] = -e * second.by_z, made.by_strength[i] = b * first.by_b + e;
    made.density[i] = first.density - log_gamma[i] + second.density;
    made.slope_one[i] = first.slope, made.slope_two[i] = second.slope;
    made.slope_strength[i] = b * (first.slope_b - digamma[i]);
  }
}

// A tight node: its coordinate is the logarithm of its Gamma number.
void tightly(double log_g, double b, double log_gamma, double digamma, const Made& made, std::int64_t i) {
  const double g = std::exp(log_g);
  made.log_g[i] = log_g, made.by_one[i] = 1.0;
  made.density[i] = b * log_g - g - log_gamma + std::log(b);
  made.slope_one[i] = b - g, made.slope_strength[i] = b * (log_g - digamma) + 1;
}

// A coordinate that stands for nothing is a normal number.
void idly(double number, double* density, double* slope, double* by) {
  *density -= 0.5 * number * number, *slope = -number, *by = 0.0;
}

SKYFOLD_CLONES void exponentials(std::int64_t size, const std::int32_t* up, const double* most, double* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) to[i] = exp_of(to[i] - most[up[i]]);
}

// Log density and slopes of the coordinates: the first and second number of each node, and the strengths of the
// levels. With them the light and the proportions that they make, and derivatives of the logarithm of each Gamma
// number by its coordinates and its strength.
py::tuple tree_light(double log_total, const Array<double>& one, const Array<double>& two, const Array<double>& alpha,
                     const Array<double>& weight, const Array<std::int64_t>& offsets,
                     const Array<std::int32_t>& parent, const Array<bool>& tight) {
  const py::ssize_t n = weight.size(), levels = alpha.size();
  if (one.size() != n || two.size() != n || tight.size() != n || parent.size() != n + 1 || offsets.size() < levels + 1)
    throw py::value_error("there must be one number for each node");
  Array<double> light(n + 1), share(n), by_one(n), by_two(n), by_strength(n), slopes(2 * n + levels);
  const double *p = one.data(), *q = two.data(), *a = alpha.data(), *w = weight.data();
  const std::int64_t* begin = offsets.data();
  const std::int32_t* up = parent.data();
  const bool* held = tight.data();
  double *x = light.mutable_data(), *s = share.mutable_data(), *by_p = by_one.mutable_data(),
         *by_q = by_two.mutable_data(), *by_a = by_strength.mutable_data(), *slope = slopes.mutable_data();
  double density = 0.0;
  {
    py::gil_scoped_release unlocked;
    std::vector<double> most(n + 1, -std::numeric_limits<double>::infinity()), sum(n + 1, 0.0);
    double b[chunk], log_gamma[chunk], digamma[chunk], each[chunk], by_level[chunk];
    std::fill(slope + 2 * n, slope + 2 * n + levels, 0.0);
    for (py::ssize_t level = 0; level < levels; ++level)
      for (std::int64_t at = begin[level]; at < begin[level + 1]; at += chunk) {
        const std::int64_t size = std::min<std::int64_t>(chunk, begin[level + 1] - at);
        for (std::int64_t i = 0; i < size; ++i) {
          b[i] = w[at + i] > 0 ? a[level] * w[at + i] : 1.0;
          const bool same = i > 0 && b[i] == b[i - 1];
          log_gamma[i] = same ? log_gamma[i - 1] : log_gamma_of(b[i] + 1);
          digamma[i] = same ? digamma[i - 1] : slopes_of_log_gamma(b[i] + 1).first;
        }
        const Made made{s + at, by_p + at, by_q + at, by_a + at, each, slope + at, slope + n + at, by_level};
        loosely(size, p + at, q + at, b, log_gamma, digamma, made);
        for (std::int64_t i = 0; i < size; ++i) {
          const bool alone = !(w[at + i] > 0);
          if (!alone && !held[at + i]) continue;
          if (!alone) tightly(p[at + i], b[i], log_gamma[i], digamma[i], made, i);
          else {
            made.log_g[i] = each[i] = by_level[i] = 0.0;
            idly(p[at + i], &each[i], &made.slope_one[i], &made.by_one[i]);
          }
          idly(q[at + i], &each[i], &made.slope_two[i], &made.by_two[i]);
          made.by_strength[i] = 0.0;
        }
        for (std::int64_t i = 0; i < size; ++i) {
          density += each[i], slope[2 * n + level] += by_level[i];
          most[up[at + i]] = std::max(most[up[at + i]], s[at + i]);
        }
      }
    exponentials(n, up, most.data(), s);
    for (py::ssize_t i = 0; i < n; ++i) sum[up[i]] += s[i];
    x[n] = std::exp(log_total);
    for (py::ssize_t i = n; i-- > 0;) s[i] /= sum[up[i]], x[i] = x[up[i]] * s[i];
  }
  return py::make_tuple(density, slopes, light, share, by_one, by_two, by_strength);
}

// Derivatives by the logarithms of the Gamma numbers of all nodes, and of the total, given those by the logarithms of
// the light of the leaves.
Array<double> tree_slopes(const Array<double>& by_light, const Array<double>& share,
                          const Array<std::int32_t>& parent) {
  const py::ssize_t n = share.size(), leaves = by_light.size();
  if (parent.size() != n + 1 || leaves > n + 1) throw py::value_error("there must be one number for each node");
  Array<double> slopes(n + 1);
  double* to = slopes.mutable_data();
  const double *from = by_light.data(), *s = share.data();
  const std::int32_t* up = parent.data();
  py::gil_scoped_release unlocked;
  std::copy(from, from + leaves, to), std::fill(to + leaves, to + n + 1, 0.0);
  for (py::ssize_t i = 0; i < n; ++i) to[up[i]] += to[i];
  for (py::ssize_t i = 0; i < n; ++i) to[i] -= s[i] * to[up[i]];
  return slopes;
}

} // namespace

void bind_tree_slopes(py::module_& m) {
  m.def("tree_light", &tree_light, py::arg("log_total"), py::arg("one"), py::arg("two"), py::arg("alpha"),
        py::arg("weight"), py::arg("offsets"), py::arg("parent"), py::arg("tight"));
  m.def("tree_slopes", &tree_slopes, py::arg("by_light"), py::arg("share"), py::arg("parent"));
}
