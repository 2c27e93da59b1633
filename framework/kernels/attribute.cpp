// Attribution of the counts of bins whose rows of the response lie in memory, dense or sparse.
#include "attribute.hpp"

#include <limits>
#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"

namespace py = pybind11;
using skyfold::Count;
using skyfold::Key;
using skyfold::Room;
using skyfold::Size;
template <class T> using Maybe = std::optional<Array<T>>;

namespace {

constexpr Size block = 64; // cells whose weights are summed before any is chosen

void require(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

template <class T> const T* pointer(const Maybe<T>& array, Size size, const char* message) {
  require(!array || array->size() == size, message);
  return array ? array->data() : nullptr;
}

void require_below(const std::int64_t* index, Size size, Size limit) {
  for (Size i = 0; index && i < size; ++i) require(index[i] >= 0 && index[i] < limit, "an index is out of range");
}

// Counts of bins, and where the results go.
struct Bins {
  const Count* counts;
  const double* others; // or null
  Key key;
  double* expectation;
  Count* left;
  bool shared;

  // The counts of bin i, divided among cells of a scale. False if nothing can have made them.
  template <class Cells, class Give>
  SKYFOLD_INLINE bool divide(Size i, const Cells& cells, Size width, double scale, Room& room, Give give) const {
    const Size blocks = (width + block - 1) / block;
    double* const upto = Room::of(room.blocks, blocks + 1);
    double own = upto[0] = 0.0;
    for (Size b = 0; b < blocks; ++b) upto[b] = own += cells.sum(b);
    const double other = others && others[i] > 0.0 ? others[i] : 0.0, expected = own * scale + other;
    expectation[i] = expected;
    if (!skyfold::possible(expected)) return false;
    skyfold::Stream stream(key, static_cast<std::uint64_t>(i));
    left[i] = skyfold::divide(cells, std::max<Size>(blocks, 1), upto, other / scale, counts[i], stream, room, give);
    return true;
  }
};

// Visits bins that hold counts, by all threads; returns the first that fails, or -1.
template <class Visit> Size visit(const Bins& bins, const std::int64_t* order, Size size, [[maybe_unused]] int threads, Visit visit) {
  Size bad = std::numeric_limits<Size>::max();
#pragma omp parallel num_threads(threads) if (bins.shared) reduction(min : bad)
  {
    Room room;
#pragma omp for schedule(dynamic, 64)
    for (Size k = 0; k < size; ++k) {
      const Size i = order ? order[k] : k;
      if (bins.counts[i] > 0 && !visit(i, room)) bad = std::min(bad, i);
    }
  }
  return bad == std::numeric_limits<Size>::max() ? -1 : bad;
}

template <class T> struct Dense {
  const T* row;
  const double* values;
  Size width;

  SKYFOLD_INLINE Size size(Size b) const { return std::min(block, width - b * block); }
  SKYFOLD_INLINE double weight(Size b, Size i) const {
    return static_cast<double>(row[b * block + i]) * values[b * block + i];
  }
  SKYFOLD_INLINE double sum(Size b) const {
    const T* r = row + b * block;
    const double* x = values + b * block;
    double total = 0.0;
    if (size(b) == block) {
#pragma omp simd reduction(+ : total)
      for (Size i = 0; i < block; ++i) total += static_cast<double>(r[i]) * x[i];
    } else {
      for (Size i = 0; i < size(b); ++i) total += static_cast<double>(r[i]) * x[i];
    }
    return total;
  }
};

template <class T>
SKYFOLD_CLONES bool dense_row(const Bins& bins, Size i, const Dense<T>& cells, double scale, Room& room, Count* drawn) {
  return bins.divide(i, cells, cells.width, scale, room,
                     [&](Size b, Size k, Count n) { skyfold::add(drawn[b * block + k], n, bins.shared); });
}

// Weights that were gathered.
struct Gathered {
  const double* weights;
  Size width;

  SKYFOLD_INLINE Size size(Size b) const { return std::min(block, width - b * block); }
  SKYFOLD_INLINE double weight(Size b, Size i) const { return weights[b * block + i]; }
  SKYFOLD_INLINE double sum(Size b) const {
    double total = 0.0;
    for (Size i = 0; i < size(b); ++i) total += weight(b, i);
    return total;
  }
};

} // namespace

// Of bins whose chances are rows[index[i]] * values[attitude[i]] times a scale for each row; drawn is
// shaped like values. Bins are visited in the given order. Returns the first bin whose counts nothing
// can make, or -1.
template <class T>
Size attribute_rows(const Array<T>& rows, const Maybe<std::int64_t>& index, const Maybe<std::int64_t>& attitude,
                    const Maybe<std::int64_t>& order, const Maybe<double>& scales, const Array<double>& values,
                    const Array<Count>& counts, const Maybe<double>& others, Key key, Array<Count>& drawn,
                    Array<double>& expectation, Array<Count>& left, int threads) {
  require(rows.ndim() == 2 && values.ndim() == 2 && values.shape(1) == rows.shape(1), "rows and values must be (n, values)");
  const Size size = counts.size(), width = rows.shape(1);
  require(index || rows.shape(0) == size, "there must be one row for each bin");
  require(drawn.size() == values.size(), "drawn must be shaped like values");
  require(expectation.size() == size && left.size() == size, "results must be one for each bin");
  const std::int64_t* row = pointer(index, size, "there must be one index for each bin");
  const std::int64_t* seen = pointer(attitude, size, "there must be one attitude for each bin");
  const std::int64_t* in_order = pointer(order, size, "the order must name each bin");
  const double* scale = pointer(scales, rows.shape(0), "there must be one scale for each row");
  require_below(row, size, rows.shape(0)), require_below(seen, size, values.shape(0)), require_below(in_order, size, size);
  const Bins bins{counts.data(), pointer(others, size, "there must be one other expectation for each bin"), key,
                  expectation.mutable_data(), left.mutable_data(), threads > 1 && size * width >= parallel};
  const T* numbers = rows.data();
  const double* x = values.data();
  Count* out = drawn.mutable_data();
  py::gil_scoped_release unlocked;
  return visit(bins, in_order, size, threads, [=, &bins](Size i, Room& room) {
    const Size r = row ? row[i] : i, at = (seen ? seen[i] : 0) * width;
    return dense_row(bins, i, Dense<T>{numbers + r * width, x + at, width}, scale ? scale[r] : 1.0, room, out + at);
  });
}

// Of a sparse matrix (CSR) that acts on each column of values (n, columns): counts and results are
// (rows, columns). Returns the first bin whose counts nothing can make, or -1.
template <class T, class I>
Size attribute_sparse(const Array<T>& data, const Array<I>& indices, const Array<I>& start, const Array<double>& values,
                      const Array<Count>& counts, const Maybe<double>& others, Key key, Array<Count>& drawn,
                      Array<double>& expectation, Array<Count>& left, int threads) {
  require(values.ndim() == 2 && data.size() == indices.size() && start.size() > 0, "this is no CSR matrix");
  const Size columns = values.shape(1), size = counts.size();
  require(size == (start.size() - 1) * columns, "counts must be (rows, columns)");
  require(drawn.size() == values.size(), "drawn must be shaped like values");
  for (Size i = 0; i < indices.size(); ++i)
    require(indices.data()[i] >= 0 && indices.data()[i] < values.shape(0), "an index is out of range");
  for (Size i = 0; i + 1 < start.size(); ++i)
    require(start.data()[i] >= 0 && start.data()[i] <= start.data()[i + 1], "rows must begin in order");
  require(start.data()[start.size() - 1] <= data.size(), "the rows are longer than the matrix");
  require(expectation.size() == size && left.size() == size, "results must be one for each bin");
  const Bins bins{counts.data(), pointer(others, size, "there must be one other expectation for each bin"), key,
                  expectation.mutable_data(), left.mutable_data(),
                  threads > 1 && data.size() * columns >= parallel};
  const T* numbers = data.data();
  const I *from = start.data(), *place = indices.data();
  const double* x = values.data();
  Count* out = drawn.mutable_data();
  py::gil_scoped_release unlocked;
  return visit(bins, nullptr, size, threads, [=, &bins](Size i, Room& room) {
    const Size row = i / columns, column = i % columns, first = from[row], width = from[row + 1] - first;
    double* const weights = Room::of(room.gathered, width);
    for (Size k = 0; k < width; ++k)
      weights[k] = static_cast<double>(numbers[first + k]) * x[place[first + k] * columns + column];
    return bins.divide(i, Gathered{weights, width}, width, 1.0, room, [&](Size b, Size k, Count n) {
      skyfold::add(out[place[first + b * block + k] * columns + column], n, bins.shared);
    });
  });
}

void bind_attribute(py::module_& m) {
  const auto dense = [&](auto number) {
    m.def("attribute_rows", &attribute_rows<decltype(number)>, py::arg("rows").noconvert(), py::arg("index").noconvert(),
          py::arg("attitude").noconvert(), py::arg("order").noconvert(), py::arg("scales").noconvert(),
          py::arg("values").noconvert(), py::arg("counts").noconvert(), py::arg("others").noconvert(), py::arg("key"),
          py::arg("drawn").noconvert(), py::arg("expectation").noconvert(), py::arg("left").noconvert(),
          py::arg("threads") = 1);
  };
  dense(float{}), dense(double{}), dense(std::uint16_t{});
  const auto sparse = [&](auto number, auto index) {
    m.def("attribute_sparse", &attribute_sparse<decltype(number), decltype(index)>, py::arg("data").noconvert(),
          py::arg("indices").noconvert(), py::arg("start").noconvert(), py::arg("values").noconvert(),
          py::arg("counts").noconvert(), py::arg("others").noconvert(), py::arg("key"), py::arg("drawn").noconvert(),
          py::arg("expectation").noconvert(), py::arg("left").noconvert(), py::arg("threads") = 1);
  };
  sparse(float{}, std::int32_t{}), sparse(double{}, std::int32_t{});
  sparse(float{}, std::int64_t{}), sparse(double{}, std::int64_t{});
}
