// The draws of random.hpp as Python sees them: to be tested, and for whoever draws many at once.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <string>

#include "arrays.hpp"
#include "lanes.hpp"

namespace py = pybind11;
using skyfold::Key;
using skyfold::Lanes;
using skyfold::Stream;

namespace {

// Each block of 1024 draws has a stream of its own.
template <class T, class Draw> Array<T> many(Key key, py::ssize_t size, Draw draw) {
  Array<T> out(size);
  T* to = out.mutable_data();
  py::gil_scoped_release unlocked;
  for (py::ssize_t at = 0; at < size; at += chunk) {
    Stream stream(key, at / chunk);
    for (py::ssize_t i = at; i < std::min(at + chunk, size); ++i) to[i] = draw(stream);
  }
  return out;
}

SKYFOLD_CLONES void gamma_batch(Lanes& lanes, const double* shape, py::ssize_t size, double* g, double* log_g) {
  lanes.gamma(shape, size, g, log_g);
}

// Gamma variables and their logarithms, many of different shapes at once.
std::pair<Array<double>, Array<double>> gammas(Key key, const Array<double>& shapes) {
  const py::ssize_t size = shapes.size();
  Array<double> g(size), log_g(size);
  Lanes lanes(key, 0);
  for (py::ssize_t at = 0; at < size; at += Lanes::batch)
    gamma_batch(lanes, shapes.data() + at, std::min<py::ssize_t>(Lanes::batch, size - at), g.mutable_data() + at,
                log_g.mutable_data() + at);
  return {g, log_g};
}

// Mean, and sum of squared differences to it, of values that come one by one (Welford 1962).
SKYFOLD_CLONES void add_one(const double* x, py::ssize_t size, double share, double* mean, double* spread) {
#pragma omp simd
  for (py::ssize_t i = 0; i < size; ++i) {
    const double off = x[i] - mean[i];
    mean[i] += share * off;
    spread[i] += off * (x[i] - mean[i]);
  }
}

void add_moments(const Array<double>& values, py::ssize_t count, Array<double>& mean, Array<double>& spread) {
  const py::ssize_t size = mean.size();
  if (values.ndim() == 0 || values.size() != values.shape(0) * size || spread.size() != size)
    throw py::value_error("values must be many, each shaped like mean and spread");
  const double *x = values.data(), *const end = x + values.size();
  double *m = mean.mutable_data(), *s = spread.mutable_data();
  py::gil_scoped_release unlocked;
  for (; x < end; x += size) add_one(x, size, 1.0 / static_cast<double>(++count), m, s);
}

} // namespace

void bind_draws(py::module_& m) {
  m.def("philox", &skyfold::philox, py::arg("counter"), py::arg("key"));
  m.def("draw_uniform",
        [](Key key, py::ssize_t size) { return many<double>(key, size, [](Stream& s) { return s.uniform(); }); },
        py::arg("key"), py::arg("size"));
  m.def("draw_normal",
        [](Key key, py::ssize_t size) { return many<double>(key, size, [](Stream& s) { return s.normal(); }); },
        py::arg("key"), py::arg("size"));
  m.def("draw_exponential",
        [](Key key, py::ssize_t size) { return many<double>(key, size, [](Stream& s) { return s.exponential(); }); },
        py::arg("key"), py::arg("size"));
  m.def("draw_gamma",
        [](Key key, py::ssize_t size, double shape) {
          return many<double>(key, size, [=](Stream& s) { return s.gamma(shape); });
        },
        py::arg("key"), py::arg("size"), py::arg("shape"));
  m.def("draw_log_gamma",
        [](Key key, py::ssize_t size, double shape) {
          return many<double>(key, size, [=](Stream& s) { return s.log_gamma(shape); });
        },
        py::arg("key"), py::arg("size"), py::arg("shape"));
  m.def("draw_gammas", &gammas, py::arg("key"), py::arg("shapes"));
  m.def("draw_poisson",
        [](Key key, py::ssize_t size, double mean) {
          return many<std::int64_t>(key, size, [=](Stream& s) { return s.poisson(mean); });
        },
        py::arg("key"), py::arg("size"), py::arg("mean"));
  m.def("draw_binomial",
        [](Key key, py::ssize_t size, std::int64_t n, double p) {
          return many<std::int64_t>(key, size, [=](Stream& s) { return s.binomial(n, p); });
        },
        py::arg("key"), py::arg("size"), py::arg("n"), py::arg("p"));
  m.def("add_moments", &add_moments, py::arg("values").noconvert(), py::arg("count"), py::arg("mean").noconvert(),
        py::arg("spread").noconvert());
}
