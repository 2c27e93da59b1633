// Element-wise steps that every Poisson algorithm takes, each in one pass over memory.
#include <algorithm>
#include <cmath>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;
template <class T> using Array = py::array_t<T, py::array::c_style>;

// ratio = n / e and the sum of n log e. Expectations below accuracy * max(e) are rounding noise and
// are raised to it; a bin without counts has ratio zero whatever its expectation.
template <class T>
double poisson_ratio(const Array<T>& counts, const Array<T>& expectation, double accuracy, Array<T>& ratio) {
  if (counts.size() != expectation.size() || counts.size() != ratio.size())
    throw py::value_error("counts, expectation and ratio must have the same number of bins");
  const T *n = counts.data(), *e = expectation.data();
  T* r = ratio.mutable_data();
  const py::ssize_t size = counts.size();
  py::gil_scoped_release unlocked;
  T top = 0;
  if (accuracy > 0)
    for (py::ssize_t i = 0; i < size; ++i) top = std::max(top, e[i]);
  const T floor = std::max(static_cast<T>(accuracy) * top, std::numeric_limits<T>::min());
  double sum = 0.0;
  for (py::ssize_t i = 0; i < size; ++i) {
    if (n[i] > 0) {
      const T mu = std::max(e[i], floor);
      r[i] = n[i] / mu;
      sum += static_cast<double>(n[i]) * std::log(static_cast<double>(mu));
    } else {
      r[i] = 0;
    }
  }
  return sum;
}

// out = x * back / s, and zero where nothing is ever seen (s = 0).
template <class T>
void em_update(const Array<T>& values, const Array<T>& back, const Array<T>& sensitivity, Array<T>& out) {
  if (values.size() != back.size() || values.size() != sensitivity.size() || values.size() != out.size())
    throw py::value_error("values, back-projection, sensitivity and result must have the same size");
  const T *x = values.data(), *b = back.data(), *s = sensitivity.data();
  T* y = out.mutable_data();
  const py::ssize_t size = values.size();
  py::gil_scoped_release unlocked;
  for (py::ssize_t i = 0; i < size; ++i) y[i] = s[i] > 0 ? std::max(x[i] * b[i] / s[i], T(0)) : T(0);
}

template <class T> void bind(py::module_& m) {
  m.def("poisson_ratio", &poisson_ratio<T>, py::arg("counts").noconvert(), py::arg("expectation").noconvert(),
        py::arg("accuracy"), py::arg("ratio").noconvert());
  m.def("em_update", &em_update<T>, py::arg("values").noconvert(), py::arg("back").noconvert(),
        py::arg("sensitivity").noconvert(), py::arg("out").noconvert());
}

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled element-wise steps of skyfold";
  bind<double>(m);
  bind<float>(m);
}
