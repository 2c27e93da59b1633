// Relative entropy towards a level, -sum x log(x / m), in single passes over memory: its value, its
// pull beside that of the counts, and its slope along a line on which the level moves too.
#include <algorithm>
#include <array>
#include <limits>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <vector>

#include "arrays.hpp"
#include "dispatch.hpp"
#include "elementary.hpp"

namespace py = pybind11;

namespace {

constexpr double tiny = std::numeric_limits<double>::min();

// Sum of -x log(x / m) where both are above zero; smallest and largest m.
struct Value {
  double sum, low, top;
};

SKYFOLD_CLONES Value value_chunk(const double* x, const double* m, py::ssize_t size) {
  double sum = 0.0, low = std::numeric_limits<double>::infinity(), top = 0.0;
#pragma omp simd reduction(+ : sum) reduction(min : low) reduction(max : top)
  for (py::ssize_t i = 0; i < size; ++i) {
    const double level = m[i], ratio = x[i] > 0 && level > 0 ? x[i] / level : 1.0;
    sum -= x[i] * log_of(ratio < tiny ? tiny : ratio);
    low = level < low ? level : low;
    top = top < level ? level : top;
  }
  return {sum, low, top};
}

SKYFOLD_CLONES double quotient_chunk(const double* x, const double* m, const double* b, double* q, py::ssize_t size) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (py::ssize_t i = 0; i < size; ++i) {
    sum += x[i] * b[i];
    q[i] = x[i] / m[i];
  }
  return sum;
}

SKYFOLD_CLONES void advance_chunk(const double* x, const double* d, double a, double* y, py::ssize_t size) {
#pragma omp simd
  for (py::ssize_t i = 0; i < size; ++i) y[i] = x[i] + a * d[i];
}

// What pulls on all values alike: the strength of the entropy, and the multipliers of both parts.
struct Pulls {
  double strength, counts, entropy;
};

// Squares of the two parts of a step and of their sum, and how often the step may be taken.
struct Steps {
  double counts, entropy, both, reach;
};

SKYFOLD_CLONES Steps step_chunk(const double* x, const double* b, const double* s, const double* q, const double* g,
                                Pulls pulls, double floor, double* d, py::ssize_t size) {
  double counts = 0.0, entropy = 0.0, both = 0.0, fall = 0.0;
#pragma omp simd reduction(+ : counts, entropy, both) reduction(max : fall)
  for (py::ssize_t i = 0; i < size; ++i) {
    const double scale = s[i] < floor ? floor : s[i], here = scale > 0 ? x[i] : 0.0;
    const double part = here / (scale > 0 ? scale : 1.0), log = log_of(q[i] < tiny ? 1.0 : q[i]);
    const double first = part * (b[i] + pulls.counts * s[i]);
    const double second = part * (pulls.strength * (g[i] - 1.0 - log) + pulls.entropy * s[i]);
    const double step = first + second;
    d[i] = step;
    counts += first * first;
    entropy += second * second;
    both += step * step;
    const double often = -step / (here > 0 ? here : 1.0);
    fall = fall < often ? often : fall;
  }
  return {counts, entropy, both, 1.0 / fall};
}

struct Along {
  double slope, bend;
};

SKYFOLD_CLONES Along along_chunk(const double* x, const double* d, const double* m, const double* dm, double a,
                                 py::ssize_t size) {
  double slope = 0.0, bend = 0.0;
#pragma omp simd reduction(+ : slope, bend)
  for (py::ssize_t i = 0; i < size; ++i) {
    const double p = x[i] + a * d[i], c = m[i] + a * dm[i];
    const double on = p > 0 && c > 0 ? 1.0 : 0.0, above = on > 0 ? p : 1.0, below = on > 0 ? c : 1.0;
    const double ratio = above / below, per = 1.0 / above, moves = ratio * dm[i] - d[i];
    slope += on * (moves - log_of(ratio < tiny ? tiny : ratio) * d[i]);
    bend += on * per * moves * moves;
  }
  return {slope, bend};
}

// Work by chunks; what they find is added up in their order, whatever the threads.
template <class Found, class Work> std::vector<Found> by_chunks(py::ssize_t size, [[maybe_unused]] int threads, Work work) {
  if (threads < 1) throw py::value_error("threads must be at least 1");
  py::gil_scoped_release unlocked;
  const py::ssize_t chunks = (size + chunk - 1) / chunk;
  std::vector<Found> parts(chunks);
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (py::ssize_t c = 0; c < chunks; ++c) parts[c] = work(c * chunk, std::min(chunk, size - c * chunk));
  return parts;
}

using Values = Array<double>;

} // namespace

// -sum x log(x / m) over all values where both are above zero; smallest and largest m.
std::array<double, 3> relative_entropy(const Values& values, const Values& level, int threads) {
  if (level.size() != values.size()) throw py::value_error("values and level must have the same size");
  const double *x = values.data(), *m = level.data();
  Value all{0.0, std::numeric_limits<double>::infinity(), 0.0};
  for (const Value& part : by_chunks<Value>(values.size(), threads, [&](py::ssize_t at, py::ssize_t size) {
         return value_chunk(x + at, m + at, size);
       })) {
    all.sum += part.sum;
    all.low = std::min(all.low, part.low);
    all.top = std::max(all.top, part.top);
  }
  return {all.sum, all.low, all.top};
}

// out = x / m. Returns the sum of x b.
double level_quotient(const Values& values, const Values& level, const Values& back, Values& out, int threads) {
  const py::ssize_t all = values.size();
  for (const auto* other : {&level, &back, static_cast<const Values*>(&out)})
    if (other->size() != all) throw py::value_error("all arrays must have the same size");
  const double *x = values.data(), *m = level.data(), *b = back.data();
  double* q = out.mutable_data();
  double sum = 0.0;
  for (double part : by_chunks<double>(all, threads, [&](py::ssize_t at, py::ssize_t size) {
         return quotient_chunk(x + at, m + at, b + at, q + at, size);
       }))
    sum += part;
  return sum;
}

// out = start + share * step; out may be the step.
void advance(const Values& start, const Values& step, double share, Values& out, int threads) {
  for (const auto* other : {&step, static_cast<const Values*>(&out)})
    if (other->size() != start.size()) throw py::value_error("start, step and out must have the same size");
  const double *x = start.data(), *d = step.data();
  double* y = out.mutable_data();
  by_chunks<char>(start.size(), threads, [&](py::ssize_t at, py::ssize_t size) {
    advance_chunk(x + at, d + at, share, y + at, size);
    return char(0);
  });
}

// out = x / r (b + mu s) + x / r (c (g - 1 - log q) + nu s), with r the larger of s and floor, q = x / m
// and pulls = (c, mu, nu); zero where r is zero. Returns the sums of squares of the first term, the second
// and both, and how often the step may be taken before a value is below zero.
std::array<double, 4> entropy_step(const Values& values, const Values& back, const Loose<double>& sensitivity,
                                   const Values& quotient, const Values& spread, std::array<double, 3> pulls,
                                   double floor, Values& out, int threads) {
  const py::ssize_t all = values.size();
  for (const pybind11::array* other :
       std::initializer_list<const pybind11::array*>{&back, &sensitivity, &quotient, &spread, &out})
    if (other->size() != all) throw py::value_error("all arrays must have the same size");
  const double *x = values.data(), *b = back.data(), *q = quotient.data(), *g = spread.data();
  double* d = out.mutable_data();
  const Chunks<double> s(sensitivity);
  const Pulls pull{pulls[0], pulls[1], pulls[2]};
  Steps sum{0.0, 0.0, 0.0, std::numeric_limits<double>::infinity()};
  for (const Steps& part : by_chunks<Steps>(all, threads, [&](py::ssize_t at, py::ssize_t size) {
         return step_chunk(x + at, b + at, s.at(at), q + at, g + at, pull, floor, d + at, size);
       })) {
    sum.counts += part.counts;
    sum.entropy += part.entropy;
    sum.both += part.both;
    sum.reach = std::min(sum.reach, part.reach);
  }
  return {sum.counts, sum.entropy, sum.both, sum.reach};
}

// Slope of -sum P log(P / C) by a, and minus its second derivative, with P = x + a d and C = m + a q;
// values where P or C is not above zero are left out.
std::array<double, 2> entropy_along(const Values& values, const Values& step, const Values& level,
                                    const Values& level_step, double share, int threads) {
  const py::ssize_t all = values.size();
  for (const auto* other : {&step, &level, &level_step})
    if (other->size() != all) throw py::value_error("all arrays must have the same size");
  const double *x = values.data(), *d = step.data(), *m = level.data(), *q = level_step.data();
  std::array<double, 2> sum{0.0, 0.0};
  for (const Along& part : by_chunks<Along>(all, threads, [&](py::ssize_t at, py::ssize_t size) {
         return along_chunk(x + at, d + at, m + at, q + at, share, size);
       })) {
    sum[0] += part.slope;
    sum[1] += part.bend;
  }
  return sum;
}

void bind_entropy(py::module_& m) {
  m.def("relative_entropy", &relative_entropy, py::arg("values").noconvert(), py::arg("level").noconvert(),
        py::arg("threads") = 1);
  m.def("level_quotient", &level_quotient, py::arg("values").noconvert(), py::arg("level").noconvert(),
        py::arg("back").noconvert(), py::arg("out").noconvert(), py::arg("threads") = 1);
  m.def("advance", &advance, py::arg("start").noconvert(), py::arg("step").noconvert(), py::arg("share"),
        py::arg("out").noconvert(), py::arg("threads") = 1);
  m.def("entropy_step", &entropy_step, py::arg("values").noconvert(), py::arg("back").noconvert(),
        py::arg("sensitivity").noconvert(), py::arg("quotient").noconvert(), py::arg("spread").noconvert(),
        py::arg("pulls"), py::arg("floor"), py::arg("out").noconvert(), py::arg("threads") = 1);
  m.def("entropy_along", &entropy_along, py::arg("values").noconvert(), py::arg("step").noconvert(),
        py::arg("level").noconvert(), py::arg("level_step").noconvert(), py::arg("share"), py::arg("threads") = 1);
}
