// Direct correlation with small kernels: exact to the last digits, no wrap-around, and faster than
// Fourier transforms up to about 11 x 11.
#include <algorithm>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "dispatch.hpp"

namespace py = pybind11;
template <class T> using Array = py::array_t<T, py::array::c_style>;

namespace {

constexpr py::ssize_t parallel = 1 << 22; // multiplications below which threads do not pay

// out[x] = sum over dy, dx of in[dy][x + dx] w[dy][dx], for `block` neighbours x whose sums stay in
// registers while the kernel is walked through.
template <int block, class T>
SKYFOLD_INLINE void columns(const T* in, py::ssize_t width, const T* w, py::ssize_t ky, py::ssize_t kx, T* out) {
  T sum[block] = {};
  for (py::ssize_t dy = 0; dy < ky; ++dy)
    for (py::ssize_t dx = 0; dx < kx; ++dx) {
      const T weight = w[dy * kx + dx];
      const T* row = in + dy * width + dx;
#pragma omp simd
      for (int j = 0; j < block; ++j) sum[j] += row[j] * weight;
    }
  for (int j = 0; j < block; ++j) out[j] = sum[j];
}

template <class T>
SKYFOLD_INLINE void row_body(const T* in, py::ssize_t width, const T* w, py::ssize_t ky, py::ssize_t kx, T* out) {
  constexpr int block = 256 / sizeof(T);
  const py::ssize_t size = width - kx + 1;
  py::ssize_t x = 0;
  for (; x + block <= size; x += block) columns<block>(in + x, width, w, ky, kx, out + x);
  for (; x + block / 4 <= size; x += block / 4) columns<block / 4>(in + x, width, w, ky, kx, out + x);
  for (; x < size; ++x) columns<1>(in + x, width, w, ky, kx, out + x);
}

SKYFOLD_CLONES void one_row(const double* in, py::ssize_t width, const double* w, py::ssize_t ky, py::ssize_t kx,
                            double* out) {
  row_body(in, width, w, ky, kx, out);
}
SKYFOLD_CLONES void one_row(const float* in, py::ssize_t width, const float* w, py::ssize_t ky, py::ssize_t kx,
                            float* out) {
  row_body(in, width, w, ky, kx, out);
}

} // namespace

// out[p, y, x] = sum over dy, dx of image[p, y + dy, x + dx] kernel[p, dy, dx]: every place where
// the kernel fits inside the image. One kernel for all planes p, or one for each.
template <class T> Array<T> correlate(const Array<T>& image, const Array<T>& kernel, [[maybe_unused]] int threads) {
  if (image.ndim() != 3 || kernel.ndim() != 3) throw py::value_error("image and kernel must be (planes, y, x)");
  const py::ssize_t planes = image.shape(0), height = image.shape(1), width = image.shape(2);
  const py::ssize_t ky = kernel.shape(1), kx = kernel.shape(2), rows = height - ky + 1;
  if (kernel.shape(0) != 1 && kernel.shape(0) != planes)
    throw py::value_error("there must be one kernel, or one for each plane of the image");
  if (ky < 1 || kx < 1 || rows < 1 || width < kx) throw py::value_error("the kernel must fit inside the image");
  if (threads < 1) throw py::value_error("threads must be at least 1");
  const py::ssize_t size = width - kx + 1, stride = kernel.shape(0) == 1 ? 0 : ky * kx;
  Array<T> result({planes, rows, size});
  const T *in = image.data(), *w = kernel.data();
  T* out = result.mutable_data();
  {
    py::gil_scoped_release unlocked;
#pragma omp parallel for num_threads(threads) if (threads > 1 && planes * rows * size * ky * kx >= parallel)          \
    schedule(static)
    for (py::ssize_t i = 0; i < planes * rows; ++i) {
      const py::ssize_t p = i / rows, y = i % rows;
      one_row(in + (p * height + y) * width, width, w + p * stride, ky, kx, out + i * size);
    }
  }
  return result;
}

void bind_attitude(py::module_& m);  // attitude.cpp
void bind_attribute(py::module_& m); // attribute.cpp
void bind_rows(py::module_& m);      // rows.cpp

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled linear operators";
  bind_attitude(m);
  bind_attribute(m);
  bind_rows(m);
  m.def("correlate", &correlate<double>, py::arg("image").noconvert(), py::arg("kernel").noconvert(),
        py::arg("threads") = 1);
  m.def("correlate", &correlate<float>, py::arg("image").noconvert(), py::arg("kernel").noconvert(),
        py::arg("threads") = 1);
}
