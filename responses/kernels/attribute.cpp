// A convolution seen from single pixels: which model pixels the counts of a data pixel came from, and
// which data pixels a model pixel lights.
#include "attribute.hpp"
#include "memory.hpp"

#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
template <class T> using Array = py::array_t<T, py::array::c_style>;
using skyfold::Count;
using skyfold::Key;
using skyfold::Size;

namespace {

constexpr int vector = 8;          // doubles; kernels are as wide as a multiple of it
constexpr Size parallel = 1 << 16; // products below which threads do not pay
constexpr Size chunk = 128;        // pixels that share a stream of random numbers
constexpr Size batch = 16;         // of them that are worked on together

void require(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

// Data pixel (p, y, x) sees the window of ky x kx pixels of the frame that begins there, through the
// flipped kernel. rows and columns say which model pixel lies at each place of the frame, or -1.
struct Convolution {
  Size planes, ny, nx, my, mx, ky, kx, wide; // wide: of the kernel as it is stored
  Size stride;                               // from kernel to kernel: 0 if all planes share one
  const double* kernel;
  const std::int64_t *rows, *columns;

  Size frame() const { return nx - 1 + wide; }
};

struct Task {
  Convolution c;
  const double* frame;
  const std::int64_t* pixels; // whose counts these are; null for all of them
  Size size;
  const Count* counts;
  const double* others; // or null
  Key key;
  Count* drawn;
  double* expectation;
  Count* left;
  bool shared;
};

// What a data pixel sees: its columns are the blocks of cells.
struct Window {
  const double *in, *kernel;
  Size frame, wide, ky;
  const std::int64_t *rows, *columns; // where its cells lie in the model
  Count* drawn;                       // on their plane

  SKYFOLD_INLINE Size size(Size) const { return ky; }
  SKYFOLD_INLINE double weight(Size x, Size y) const { return in[y * frame + x] * kernel[y * wide + x]; }

  // Sums of some columns, each with all before; `sum` of those before becomes that of all.
  template <int block> SKYFOLD_INLINE void add_columns(Size x, double& sum, double* upto) const {
    double column[block] = {};
    for (Size y = 0; y < ky; ++y) {
      const double *row = in + y * frame + x, *weight = kernel + y * wide + x;
#pragma omp simd
      for (int j = 0; j < block; ++j) column[j] += row[j] * weight[j];
    }
    // vectors one beside the other, then one after the other: additions wait for each other
    for (int v = 0; v < block; v += vector) {
      double part = 0.0;
      for (int j = v; j < v + vector; ++j) column[j] = part += column[j];
    }
    for (int v = 0; v < block; v += vector) {
      const double before = sum;
      sum += column[v + vector - 1];
#pragma omp simd
      for (int j = v; j < v + vector; ++j) upto[x + j] = before + column[j];
    }
  }

  // Sums of each column and all before.
  SKYFOLD_INLINE void sum_columns(double* upto) const {
    double sum = 0.0;
    Size x = 0;
    for (; x + 4 * vector <= wide; x += 4 * vector) add_columns<4 * vector>(x, sum, upto);
    if (x + 3 * vector == wide) add_columns<3 * vector>(x, sum, upto);
    if (x + 2 * vector == wide) add_columns<2 * vector>(x, sum, upto);
    if (x + vector == wide) add_columns<vector>(x, sum, upto);
  }
};

// The line of data pixels of one of them, which most often is that of the one before.
struct Line {
  const Task& t;
  Size first = 0, size = 0; // pixels
  Window window{};          // of the first of them

  SKYFOLD_INLINE Window at(Size pixel) {
    const Convolution& c = t.c;
    if (pixel < first || pixel >= first + size) {
      const Size line = pixel / c.nx, p = line / c.ny, y = line % c.ny, frame = c.frame();
      first = line * c.nx, size = c.nx;
      window = {t.frame + (p * (c.ny - 1 + c.ky) + y) * frame, c.kernel + p * c.stride, frame, c.wide, c.ky,
                c.rows + y, c.columns, t.drawn + p * c.my * c.mx};
    }
    Window own = window;
    own.in += pixel - first, own.columns += pixel - first;
    return own;
  }
};

// A count that looks for its cell in a column of a window.
struct Sought {
  const Window* window;
  Size column;
  double target;
};

// Where they fall, some columns at a time: sums of one wait for nothing of the others.
SKYFOLD_INLINE void seek_all(const Task& t, const Sought* sought, Size size) {
  constexpr Size beside = 8;
  const Size ky = t.c.ky, frame = t.c.frame(), wide = t.c.wide;
  for (Size first = 0; first < size; first += beside) {
    const double *in[beside], *kernel[beside];
    double target[beside], sum[beside] = {};
    Size before[beside] = {};
    for (Size k = 0; k < beside; ++k) {
      const Sought& s = sought[std::min(first + k, size - 1)];
      in[k] = s.window->in + s.column, kernel[k] = s.window->kernel + s.column, target[k] = s.target;
    }
    for (Size y = 0; y < ky; ++y)
      for (Size k = 0; k < beside; ++k) {
        sum[k] += in[k][y * frame] * kernel[k][y * wide];
        before[k] += sum[k] <= target[k];
      }
    for (Size k = 0; k < std::min(beside, size - first); ++k) {
      const Sought& s = sought[first + k];
      const Window& w = *s.window;
      const Size y = skyfold::last_of(ky, before[k], [&](Size i) { return w.weight(s.column, i); });
      skyfold::add(w.drawn[w.rows[y] * t.c.mx + w.columns[s.column]], 1, t.shared);
    }
  }
}

// Some pixels, which have a stream of random numbers of their own. Returns the first of them whose counts
// nothing can make, or -1. They come in batches: sums that wait for nothing, without a jump between them that
// hangs on chance, keep the processor busy.
SKYFOLD_CLONES Size one_chunk(const Task& t, Size number, skyfold::Room& room) {
  const Size end = std::min((number + 1) * chunk, t.size), wide = t.c.wide;
  double* const sums = skyfold::Room::of(room.blocks, batch * wide);
  skyfold::Stream stream(t.key, static_cast<std::uint64_t>(number));
  Line line{t};
  Window windows[batch];
  Size held[batch], many = 0;
  Sought sought[batch * skyfold::few];
  for (Size i = number * chunk; i < end; ++i) {
    held[many] = i;
    many += t.counts[i] > 0;
    if (many < batch && i + 1 < end) continue;
    for (Size k = 0; k < many; ++k) {
      windows[k] = line.at(t.pixels ? t.pixels[held[k]] : held[k]);
      windows[k].sum_columns(sums + k * wide);
    }
    Size seeking = 0;
    for (Size k = 0; k < many; ++k) {
      const Size at = held[k];
      const Window& window = windows[k];
      const double *upto = sums + k * wide, others = t.others && t.others[at] > 0.0 ? t.others[at] : 0.0;
      const double expectation = t.expectation[at] = upto[wide - 1] + others;
      if (!skyfold::possible(expectation)) return at;
      const auto give = [&](Size x, Size y, Count n) {
        skyfold::add(window.drawn[window.rows[y] * t.c.mx + window.columns[x]], n, t.shared);
      };
      const auto seek = [&](Size x, double target) { sought[seeking++] = {&window, x, target}; };
      t.left[at] = skyfold::divide(window, wide, upto, others, t.counts[at], stream, room, give, seek);
    }
    seek_all(t, sought, seeking);
    many = 0;
  }
  return -1;
}

// The model as data pixels see it, with zeros where nothing lies or something is below zero.
template <class T> void frame_model(const Convolution& c, const T* model, double* out) {
  struct Run {
    Size to, from, size;
  };
  std::vector<Run> runs; // of neighbours that stay neighbours
  for (Size x = 0; x < c.nx - 1 + c.kx; ++x) {
    const Size from = c.columns[x];
    if (from < 0) continue;
    if (!runs.empty() && runs.back().to + runs.back().size == x && runs.back().from + runs.back().size == from)
      ++runs.back().size;
    else
      runs.push_back({x, from, 1});
  }
  for (Size p = 0; p < c.planes; ++p)
    for (Size y = 0; y < c.ny - 1 + c.ky; ++y, out += c.frame()) {
      std::fill_n(out, c.frame(), 0.0);
      if (c.rows[y] < 0) continue;
      const T* row = model + (p * c.my + c.rows[y]) * c.mx;
      for (const Run& run : runs)
        for (Size i = 0; i < run.size; ++i) {
          const T value = row[run.from + i];
          out[run.to + i] = static_cast<double>(value < 0 ? 0 : value);
        }
    }
}

void require_places(const Array<std::int64_t>& places, Size size, Size model) {
  require(places.ndim() == 1 && places.size() == size, "there must be one place for each pixel of the frame");
  for (Size i = 0; i < size; ++i)
    require(places.data()[i] >= -1 && places.data()[i] < model, "a place of the frame is out of range");
}

Convolution convolution(const Array<double>& kernel, Size kx, const Array<std::int64_t>& rows,
                        const Array<std::int64_t>& columns, Size planes, Size my, Size mx) {
  require(kernel.ndim() == 3 && kernel.shape(2) % vector == 0 && kx > 0 && kx <= kernel.shape(2),
          "the kernel must be (planes, y, x), as wide as a multiple of 8");
  require(kernel.shape(0) == 1 || kernel.shape(0) == planes, "there must be one kernel, or one for each plane");
  Convolution c{};
  c.planes = planes, c.my = my, c.mx = mx;
  c.ky = kernel.shape(1), c.kx = kx, c.wide = kernel.shape(2);
  c.ny = rows.size() - c.ky + 1, c.nx = columns.size() - c.kx + 1;
  require(c.ny > 0 && c.nx > 0, "the kernel must fit inside the frame");
  c.stride = kernel.shape(0) == 1 ? 0 : c.ky * c.wide;
  c.kernel = kernel.data(), c.rows = rows.data(), c.columns = columns.data();
  require_places(rows, rows.size(), my);
  require_places(columns, columns.size(), mx);
  return c;
}

struct Step {
  Size data, element; // of one axis: a data pixel, and the element of the flipped kernel that lights it
};

// Where the light of one model pixel goes along one axis, in the order of the data.
void steps(const std::int64_t* places, Size frame, Size data, Size element, Size pixel, std::vector<Step>& out) {
  out.clear();
  bool sorted = true;
  for (Size f = 0; f < frame; ++f)
    if (places[f] == pixel)
      for (Size k = std::min(element - 1, f); k >= 0 && f - k < data; --k) {
        sorted = sorted && (out.empty() || out.back().data < f - k);
        out.push_back({f - k, k});
      }
  if (!sorted) std::stable_sort(out.begin(), out.end(), [](Step a, Step b) { return a.data < b.data; });
}

// Numbers the different data pixels among the steps, and lists them.
void distinct(const std::vector<Step>& steps, std::vector<Size>& number, std::vector<Size>& data) {
  number.clear(), data.clear();
  for (const Step s : steps) {
    if (data.empty() || data.back() != s.data) data.push_back(s.data);
    number.push_back(static_cast<Size>(data.size()) - 1);
  }
}

template <class T> Array<T> as_array(const std::vector<T>& from) {
  return Array<T>(static_cast<Size>(from.size()), from.data());
}


// A convolution, prepared.
class Footprints {
public:
  Footprints(const Array<double>& kernel_, Size kx, const Array<std::int64_t>& rows_,
             const Array<std::int64_t>& columns_, Size planes, Size my, Size mx)
      : kernel(kernel_), rows(rows_), columns(columns_), c(convolution(kernel, kx, rows, columns, planes, my, mx)) {}

  // Divides the counts of data pixels, those given or all, between the model pixels that their windows show and
  // all others: how many each model pixel made, what is expected of each data pixel and how many of its counts are
  // left to the others, and the number of the first one whose counts nothing can make, or -1.
  template <class T>
  py::tuple attribute(const Array<T>& model, const std::optional<Array<std::int64_t>>& pixels,
                      const Array<Count>& counts, const std::optional<Array<double>>& others, Key key,
                      [[maybe_unused]] int threads) const {
    require(model.size() == c.planes * c.my * c.mx, "the model must be (planes, y, x)");
    Task t{};
    t.c = c;
    const Size all = c.planes * c.ny * c.nx, size = t.size = counts.size();
    require(size == (pixels ? pixels->size() : all), "counts must be given for each pixel");
    for (Size i = 0; pixels && i < size; ++i)
      require(pixels->data()[i] >= 0 && pixels->data()[i] < all, "a pixel is out of range");
    require(!others || others->size() == size, "others must be given for each pixel");
    Array<Count> drawn({c.planes, c.my, c.mx}), left(size);
    Array<double> expectation(size);
    t.pixels = pixels ? pixels->data() : nullptr;
    t.counts = counts.data(), t.others = others ? others->data() : nullptr;
    t.key = key;
    t.drawn = drawn.mutable_data(), t.expectation = expectation.mutable_data(), t.left = left.mutable_data();
    t.shared = threads > 1 && size * c.ky * c.wide >= parallel;
    const T* in = model.data();
    Size bad = size;
    {
      py::gil_scoped_release unlocked;
      std::fill_n(t.drawn, model.size(), 0), std::fill_n(t.left, size, 0), std::fill_n(t.expectation, size, 0.0);
      const auto places = static_cast<std::size_t>(c.planes * (c.ny - 1 + c.ky) * c.frame());
      skyfold::Memory memory(places * sizeof(double));
      auto* const frame = static_cast<double*>(memory.data());
      frame_model(c, in, frame);
      t.frame = frame;
#pragma omp parallel num_threads(threads) if (t.shared) reduction(min : bad)
      {
        skyfold::Room room;
#pragma omp for schedule(dynamic, 4)
        for (Size number = 0; number < (size + chunk - 1) / chunk; ++number) {
          const Size i = one_chunk(t, number, room);
          if (i >= 0) bad = std::min(bad, i);
        }
      }
    }
    return py::make_tuple(drawn, expectation, left, bad < size ? bad : -1);
  }

  // Which data pixels single model pixels light, and how much: (start, bins, weights), of pixel i from
  // start[i] to start[i + 1], in the order of the data.
  py::tuple columns_of(const Array<std::int64_t>& pixels) const {
    std::vector<std::int64_t> start{0}, bins;
    std::vector<double> weights;
    std::vector<Step> ys, xs;
    std::vector<Size> y_number, x_number, y_data, x_data;
    {
      py::gil_scoped_release unlocked;
      for (Size i = 0; i < pixels.size(); ++i) {
        const Size pixel = pixels.data()[i];
        require(pixel >= 0 && pixel < c.planes * c.my * c.mx, "a pixel is out of range");
        const Size p = pixel / (c.my * c.mx);
        steps(c.rows, rows.size(), c.ny, c.ky, pixel / c.mx % c.my, ys);
        steps(c.columns, columns.size(), c.nx, c.kx, pixel % c.mx, xs);
        distinct(ys, y_number, y_data), distinct(xs, x_number, x_data);
        const std::size_t at = bins.size(), size = y_data.size() * x_data.size();
        bins.resize(at + size), weights.resize(at + size);
        std::int64_t* bin = bins.data() + at;
        for (const Size y : y_data)
          for (const Size x : x_data) *bin++ = (p * c.ny + y) * c.nx + x;
        for (std::size_t a = 0; a < ys.size(); ++a) {
          double* const to = weights.data() + at + static_cast<std::size_t>(y_number[a]) * x_data.size();
          const double* const from = c.kernel + p * c.stride + ys[a].element * c.wide;
          for (std::size_t b = 0; b < xs.size(); ++b) to[x_number[b]] += from[xs[b].element];
        }
        start.push_back(static_cast<std::int64_t>(bins.size()));
      }
    }
    return py::make_tuple(as_array(start), as_array(bins), as_array(weights));
  }

private:
  Array<double> kernel;
  Array<std::int64_t> rows, columns;
  Convolution c;
};

} // namespace

void bind_attribute(py::module_& m) {
  py::class_<Footprints> footprints(m, "Footprints");
  footprints.def(py::init<const Array<double>&, Size, const Array<std::int64_t>&, const Array<std::int64_t>&, Size, Size, Size>(),
                 py::arg("kernel").noconvert(), py::arg("kx"), py::arg("rows").noconvert(),
                 py::arg("columns").noconvert(), py::arg("planes"), py::arg("my"), py::arg("mx"));
  const auto bind = [&](auto zero) {
    footprints.def("attribute", &Footprints::attribute<decltype(zero)>, py::arg("model").noconvert(),
                   py::arg("pixels").noconvert(), py::arg("counts").noconvert(), py::arg("others").noconvert(),
                   py::arg("key"), py::arg("threads") = 1);
  };
  bind(double{});
  bind(float{});
  footprints.def("columns", &Footprints::columns_of, py::arg("pixels").noconvert());
}
