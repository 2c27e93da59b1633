// A rotating instrument under the sky: where directions lie among the HEALPix pixels of its own frame, for how
// long, and what its response becomes in the frame of the sky. Pixels are in RING order (Gorski et al. 2005).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <vector>

#include "dispatch.hpp"

namespace py = pybind11;
template <class T> using Array = py::array_t<T, py::array::c_style>;

namespace {

constexpr double pi = 3.14159265358979323846;
constexpr double limb = 1e-12; // what lies on the horizon, but for rounding, is hidden

struct Vector {
  double x, y, z;
};

SKYFOLD_INLINE double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

SKYFOLD_INLINE Vector turned(const double* r, const double* v) { return {dot(r, v), dot(r + 3, v), dot(r + 6, v)}; }

// The four pixels around a direction and their weights: linear in longitude on the ring above and on the ring
// below, linear in colatitude between them; a pole has the mean of the four pixels next to it.
class Rings {
public:
  explicit Rings(std::int32_t nside) : n(nside), colatitude(4 * nside + 1) {
    for (std::int32_t r = 0; r <= 4 * n; ++r) {
      const std::int32_t from_pole = std::min(r, 4 * n - r);
      const double cap = double(from_pole) * from_pole / (3.0 * n * n); // 1 - |z|
      const double theta = from_pole < n ? std::atan2(std::sqrt(cap * (2 - cap)), 1 - cap)
                                         : std::acos((2.0 * (2 * n - from_pole)) / (3.0 * n));
      colatitude[r] = r <= 2 * n ? theta : pi - theta;
    }
  }

  std::int32_t pixels() const { return 12 * n * n; }

  void interpolate(Vector v, std::int32_t* pixel, double* weight) const {
    const double rho = std::sqrt(v.x * v.x + v.y * v.y), theta = std::atan2(rho, v.z);
    double turn = std::atan2(v.y, v.x) / (2 * pi);
    if (turn < 0) turn += 1;
    const std::int32_t above = ring_above(v.z / std::sqrt(rho * rho + v.z * v.z));
    const double t = (theta - colatitude[above]) / (colatitude[above + 1] - colatitude[above]);
    const double down = std::clamp(t, 0.0, 1.0);
    on_ring(above, turn, 1 - down, pixel, weight);
    on_ring(above + 1, turn, down, pixel + 2, weight + 2);
    if (above == 0) pole(pixel + 2, pixel, weight + 2, weight, 1 - down, 0);
    if (above + 1 == 4 * n) pole(pixel, pixel + 2, weight, weight + 2, down, pixels() - 4);
  }

private:
  std::int32_t n;
  std::vector<double> colatitude; // of ring 1 to 4 n - 1; 0 and 4 n are the poles

  std::int32_t ring_above(double z) const {
    const double a = std::abs(z);
    if (a <= 2.0 / 3) return std::int32_t(n * (2 - 1.5 * z));
    const auto r = std::int32_t(n * std::sqrt(3 * (1 - a)));
    return z > 0 ? r : 4 * n - r - 1;
  }

  void on_ring(std::int32_t r, double turn, double share, std::int32_t* pixel, double* weight) const {
    if (r == 0 || r == 4 * n) return;
    const std::int32_t from_pole = std::min(r, 4 * n - r), size = 4 * std::min(from_pole, n);
    std::int32_t first = 2 * n * (n - 1) + (r - n) * 4 * n;
    if (r < n) first = 2 * r * (r - 1);
    if (r > 3 * n) first = pixels() - 2 * from_pole * (from_pole + 1);
    const bool shifted = from_pole < n || (r - n) % 2 == 0; // centres half a pixel off longitude 0
    const double place = turn * size - (shifted ? 0.5 : 0.0), left = std::floor(place);
    const auto i = std::int32_t(left);
    pixel[0] = first + (i + size) % size;
    pixel[1] = first + (i + 1) % size;
    weight[0] = share * (1 - (place - left));
    weight[1] = share * (place - left);
  }

  // the two pixels opposite to those at hand join in, and all four get a quarter of the pole's share
  static void pole(const std::int32_t* here, std::int32_t* there, double* near, double* far, double share,
                   std::int32_t first) {
    for (int k = 0; k < 2; ++k) {
      there[k] = first + (here[k] - first + 2) % 4;
      near[k] += share / 4;
      far[k] = share / 4;
    }
  }
};

void require(bool right, const char* message) {
  if (!right) throw py::value_error(message);
}

template <class T> void require_vectors(const Array<T>& a, const char* message) {
  require(a.ndim() == 2 && a.shape(1) == 3, message);
}

py::ssize_t groups_of(const Array<std::int64_t>& first, py::ssize_t size) {
  require(first.ndim() == 1 && first.size() > 0, "first must be one-dimensional");
  const auto* f = first.data();
  require(f[0] == 0 && f[first.size() - 1] == size && std::is_sorted(f, f + first.size()),
          "first must rise from 0 to the number of pointings");
  return first.size() - 1;
}

// seconds of all pointings above whose horizon the directions, given as x, y, z one after the other, stand
SKYFOLD_CLONES void add_visible(const double* zenith, double horizon, double seconds, const double* x, const double* y,
                                const double* z, py::ssize_t size, double* sum) {
  const double a = zenith[0], b = zenith[1], c = zenith[2];
#pragma omp simd
  for (py::ssize_t i = 0; i < size; ++i) sum[i] += a * x[i] + b * y[i] + c * z[i] > horizon ? seconds : 0.0;
}

// out[r] = sum over k of w[k] slab[k][r]: a slab interpolated between four
template <class T>
SKYFOLD_INLINE void mix_body(const T* const* slab, const double* w, py::ssize_t rows, py::ssize_t stride,
                             py::ssize_t width, double* out) {
  for (py::ssize_t r = 0; r < rows; ++r, out += width) {
    const T *a = slab[0] + r * stride, *b = slab[1] + r * stride, *c = slab[2] + r * stride, *d = slab[3] + r * stride;
#pragma omp simd
    for (py::ssize_t i = 0; i < width; ++i) out[i] = w[0] * a[i] + w[1] * b[i] + w[2] * c[i] + w[3] * d[i];
  }
}
SKYFOLD_CLONES void mix(const float* const* slab, const double* w, py::ssize_t rows, py::ssize_t stride,
                        py::ssize_t width, double* out) {
  mix_body(slab, w, rows, stride, width, out);
}
SKYFOLD_CLONES void mix(const double* const* slab, const double* w, py::ssize_t rows, py::ssize_t stride,
                        py::ssize_t width, double* out) {
  mix_body(slab, w, rows, stride, width, out);
}

// out[r] += sum over k of w[r][k] in[pixel[r][k]]: its rows, in their places in the sky
SKYFOLD_CLONES void turn(const double* in, const std::int32_t* pixel, const double* w, py::ssize_t rows,
                         py::ssize_t width, py::ssize_t stride, double* out) {
  for (py::ssize_t r = 0; r < rows; ++r, pixel += 4, w += 4, out += stride) {
    const double *a = in + pixel[0] * width, *b = in + pixel[1] * width;
    const double *c = in + pixel[2] * width, *d = in + pixel[3] * width;
    const double p = w[0], q = w[1], s = w[2], t = w[3];
#pragma omp simd
    for (py::ssize_t i = 0; i < width; ++i) out[i] += p * a[i] + q * b[i] + s * c[i] + t * d[i];
  }
}

} // namespace

// Pixels and weights, both (n, 4), that interpolate bilinearly at each of the directions (n, 3).
py::tuple interpolation(std::int32_t nside, const Array<double>& directions, [[maybe_unused]] int threads) {
  require(nside >= 1 && nside <= 8192, "nside must be 1 to 8192");
  require_vectors(directions, "directions must be (n, 3)");
  const py::ssize_t n = directions.shape(0);
  Array<std::int32_t> pixels({n, py::ssize_t(4)});
  Array<double> weights({n, py::ssize_t(4)});
  const double* in = directions.data();
  std::int32_t* p = pixels.mutable_data();
  double* w = weights.mutable_data();
  {
    py::gil_scoped_release unlocked;
    const Rings rings(nside);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (py::ssize_t i = 0; i < n; ++i)
      rings.interpolate({in[3 * i], in[3 * i + 1], in[3 * i + 2]}, p + 4 * i, w + 4 * i);
  }
  return py::make_tuple(pixels, weights);
}

// Seconds (groups, n) that each direction stood above the horizon: those of the pointings first[g] to first[g + 1]
// for which zenith . direction > horizon.
Array<double> visible_seconds(const Array<double>& seconds, const Array<double>& zenith, const Array<double>& horizon,
                              const Array<std::int64_t>& first, const Array<double>& directions,
                              [[maybe_unused]] int threads) {
  require_vectors(directions, "directions must be (n, 3)");
  require_vectors(zenith, "zenith must be (pointings, 3)");
  require(seconds.size() == zenith.shape(0) && horizon.size() == zenith.shape(0),
          "seconds and horizon must have a value for each pointing");
  constexpr py::ssize_t block = 512;
  const py::ssize_t groups = groups_of(first, seconds.size()), n = directions.shape(0);
  const py::ssize_t blocks = (n + block - 1) / block;
  Array<double> result({groups, n});
  const double *in = directions.data(), *s = seconds.data(), *up = zenith.data(), *h = horizon.data();
  const std::int64_t* f = first.data();
  double* out = result.mutable_data();
  {
    py::gil_scoped_release unlocked;
    std::vector<double> columns(3 * n);
    for (py::ssize_t i = 0; i < 3 * n; ++i) columns[i % 3 * n + i / 3] = in[i];
    std::fill(out, out + groups * n, 0.0);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (py::ssize_t task = 0; task < groups * blocks; ++task) {
      const py::ssize_t g = task / blocks, start = task % blocks * block, size = std::min(block, n - start);
      const double* x = columns.data() + start;
      for (std::int64_t p = f[g]; p < f[g + 1]; ++p)
        add_visible(up + 3 * p, h[p] + limb, s[p], x, x + n, x + 2 * n, size, out + g * n + start);
    }
  }
  return result;
}

// The same seconds shared out among the pixels of the turning frame: entries of (groups * n, pixels), row by row:
// their number in each row, columns and values.
py::tuple sojourn(std::int32_t nside, const Array<double>& rotations, const Array<double>& seconds,
                  const Array<double>& zenith, const Array<double>& horizon, const Array<std::int64_t>& first,
                  const Array<double>& directions, [[maybe_unused]] int threads) {
  require(nside >= 1 && nside <= 8192, "nside must be 1 to 8192");
  require_vectors(directions, "directions must be (n, 3)");
  require_vectors(zenith, "zenith must be (pointings, 3)");
  require(rotations.ndim() == 3 && rotations.shape(1) == 3 && rotations.shape(2) == 3 &&
              rotations.shape(0) == zenith.shape(0),
          "rotations must be (pointings, 3, 3)");
  require(seconds.size() == zenith.shape(0) && horizon.size() == zenith.shape(0),
          "seconds and horizon must have a value for each pointing");
  constexpr py::ssize_t block = 64;
  const py::ssize_t groups = groups_of(first, seconds.size()), n = directions.shape(0);
  const py::ssize_t blocks = (n + block - 1) / block;
  struct Part {
    std::vector<std::int32_t> columns;
    std::vector<double> values;
  };
  std::vector<Part> parts(groups * blocks);
  Array<std::int64_t> lengths(groups * n);
  const double *in = directions.data(), *s = seconds.data(), *up = zenith.data(), *h = horizon.data();
  const double* r = rotations.data();
  const std::int64_t* f = first.data();
  std::int64_t* length = lengths.mutable_data();
  {
    py::gil_scoped_release unlocked;
    const Rings rings(nside);
#pragma omp parallel num_threads(threads)
    {
      std::vector<double> sum(rings.pixels(), 0.0);
      std::vector<std::int32_t> touched;
      std::int32_t pixel[4];
      double weight[4];
#pragma omp for schedule(dynamic)
      for (py::ssize_t task = 0; task < groups * blocks; ++task) {
        const py::ssize_t g = task / blocks, start = task % blocks * block, end = std::min(start + block, n);
        Part& part = parts[task];
        for (py::ssize_t i = start; i < end; ++i) {
          touched.clear();
          for (std::int64_t p = f[g]; p < f[g + 1]; ++p) {
            if (s[p] <= 0 || dot(up + 3 * p, in + 3 * i) <= h[p] + limb) continue;
            rings.interpolate(turned(r + 9 * p, in + 3 * i), pixel, weight);
            for (int k = 0; k < 4; ++k) {
              if (weight[k] <= 0) continue;
              if (sum[pixel[k]] == 0) touched.push_back(pixel[k]);
              sum[pixel[k]] += weight[k] * s[p];
            }
          }
          std::sort(touched.begin(), touched.end());
          for (const std::int32_t k : touched) {
            part.columns.push_back(k);
            part.values.push_back(sum[k]);
            sum[k] = 0;
          }
          length[g * n + i] = std::int64_t(touched.size());
        }
      }
    }
  }
  py::ssize_t entries = 0;
  for (const Part& part : parts) entries += py::ssize_t(part.values.size());
  Array<std::int32_t> columns(entries);
  Array<double> values(entries);
  std::int32_t* c = columns.mutable_data();
  double* v = values.mutable_data();
  for (Part& part : parts) {
    c = std::copy(part.columns.begin(), part.columns.end(), c);
    v = std::copy(part.values.begin(), part.values.end(), v);
    part = Part();
  }
  return py::make_tuple(lengths, columns, values);
}

// out[s, q, c] = sum over attitudes a and k of table_weights[a, q, k] (sum over j of weights[s, a, j]
// response[pixels[s, a, j], table[a, q, k], c]): a response in its own frame, carried to the frame of the sky.
template <class T>
Array<double> turned_response(const Array<T>& response, const Array<std::int32_t>& pixels, const Array<double>& weights,
                              const Array<std::int32_t>& table, const Array<double>& table_weights,
                              [[maybe_unused]] int threads) {
  require(response.ndim() == 3 && response.shape(0) > 0, "response must be (pixels, pixels, channels)");
  require(pixels.ndim() == 3 && pixels.shape(2) == 4, "pixels must be (sky, attitudes, 4)");
  require(table.ndim() == 3 && table.shape(0) == pixels.shape(1) && table.shape(2) == 4,
          "table must be (attitudes, pixels, 4)");
  require(std::equal(pixels.shape(), pixels.shape() + 3, weights.shape(), weights.shape() + weights.ndim()),
          "pixels and weights must be of the same shape");
  require(std::equal(table.shape(), table.shape() + 3, table_weights.shape(),
                     table_weights.shape() + table_weights.ndim()),
          "table and table_weights must be of the same shape");
  const py::ssize_t locals = response.shape(0), rows = response.shape(1), channels = response.shape(2);
  const auto inside = [](const Array<std::int32_t>& index, py::ssize_t size) {
    return std::all_of(index.data(), index.data() + index.size(), [=](std::int32_t i) { return i >= 0 && i < size; });
  };
  require(inside(pixels, locals) && inside(table, rows), "a pixel lies outside the response");
  const py::ssize_t sky = pixels.shape(0), attitudes = pixels.shape(1);
  const py::ssize_t turned_rows = table.shape(1);
  const py::ssize_t width = std::min(channels, std::max<py::ssize_t>(16, (1 << 15) / rows)); // stays in cache
  Array<double> result({sky, turned_rows, channels});
  const T* in = response.data();
  const std::int32_t *pixel = pixels.data(), *from = table.data();
  const double *w = weights.data(), *share = table_weights.data();
  double* out = result.mutable_data();
  {
    py::gil_scoped_release unlocked;
    std::fill(out, out + result.size(), 0.0);
#pragma omp parallel num_threads(threads)
    {
      std::vector<double> mixed(rows * width);
#pragma omp for schedule(dynamic)
      for (py::ssize_t s = 0; s < sky; ++s)
        for (py::ssize_t c = 0; c < channels; c += width) {
          const py::ssize_t size = std::min(width, channels - c);
          for (py::ssize_t a = 0; a < attitudes; ++a) {
            const double* here = w + (s * attitudes + a) * 4;
            if (here[0] == 0 && here[1] == 0 && here[2] == 0 && here[3] == 0) continue;
            const T* slab[4];
            for (int k = 0; k < 4; ++k) slab[k] = in + pixel[(s * attitudes + a) * 4 + k] * rows * channels + c;
            mix(slab, here, rows, channels, size, mixed.data());
            turn(mixed.data(), from + a * turned_rows * 4, share + a * turned_rows * 4, turned_rows, size, channels,
                 out + s * turned_rows * channels + c);
          }
        }
    }
  }
  return result;
}

void bind_attitude(py::module_& m) {
  m.def("interpolation", &interpolation, py::arg("nside"), py::arg("directions").noconvert(), py::arg("threads") = 1);
  m.def("visible_seconds", &visible_seconds, py::arg("seconds").noconvert(), py::arg("zenith").noconvert(),
        py::arg("horizon").noconvert(), py::arg("first").noconvert(), py::arg("directions").noconvert(),
        py::arg("threads") = 1);
  m.def("sojourn", &sojourn, py::arg("nside"), py::arg("rotations").noconvert(), py::arg("seconds").noconvert(),
        py::arg("zenith").noconvert(), py::arg("horizon").noconvert(), py::arg("first").noconvert(),
        py::arg("directions").noconvert(), py::arg("threads") = 1);
  m.def("turned_response", &turned_response<double>, py::arg("response").noconvert(), py::arg("pixels").noconvert(),
        py::arg("weights").noconvert(), py::arg("table").noconvert(), py::arg("table_weights").noconvert(),
        py::arg("threads") = 1);
  m.def("turned_response", &turned_response<float>, py::arg("response").noconvert(), py::arg("pixels").noconvert(),
        py::arg("weights").noconvert(), py::arg("table").noconvert(), py::arg("table_weights").noconvert(),
        py::arg("threads") = 1);
}
