// Dense rows of a response, one row of values for each bin, read once per E-step. Stored numbers are
// float, double, or 16-bit integers with a scale for each row; all arithmetic is in double.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <vector>

#include "dispatch.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define SKYFOLD_X86_64_V4
#include <immintrin.h>
#endif

namespace py = pybind11;
template <class T> using Array = py::array_t<T, py::array::c_style>;
template <class T> using Maybe = std::optional<Array<T>>;
using Size = py::ssize_t;

namespace {

constexpr Size most_chunks = 32;   // each with its own sums, added in order: threads change no bit
constexpr Size least_rows = 128;   // of a chunk
constexpr Size parallel = 1 << 16; // numbers below which threads do not pay
constexpr Size line = 64;          // bytes of a cache line
constexpr double tiny = std::numeric_limits<double>::min();

// What every product needs to know. Without values only the transpose is taken, of the counts as
// they are; without room for it only the expectation.
template <class T> struct Problem {
  const T* numbers;
  Size width;
  const std::int64_t* index; // or null: row i is the i-th
  const double* scales;      // or null
  const double *values, *counts, *others;
  double* expectation;
  bool back;

  SKYFOLD_INLINE const T* row(Size i) const { return numbers + (index ? index[i] : i) * width; }
  SKYFOLD_INLINE double scale(Size i) const { return scales ? scales[index ? index[i] : i] : 1.0; }
};

namespace any {
#define SKYFOLD_ROWS SKYFOLD_CLONES
#include "row_loops.hpp"
#undef SKYFOLD_ROWS
} // namespace any

#ifdef SKYFOLD_X86_64_V4
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#define SKYFOLD_ROWS
#define SKYFOLD_AVX512
#include "row_loops.hpp"
} // namespace v4
#pragma GCC pop_options

const bool has_v4 = __builtin_cpu_supports("x86-64-v4");
#define SKYFOLD_BEST(function, ...) (has_v4 ? v4::function(__VA_ARGS__) : any::function(__VA_ARGS__))
#else
#define SKYFOLD_BEST(function, ...) any::function(__VA_ARGS__)
#endif

// Zeros on cache lines of their own.
struct Sums {
  Size stride;
  std::vector<double> room;
  double* first;
  Sums(Size count, Size width)
      : stride((width + 7) / 8 * 8), room(static_cast<std::size_t>(count * stride + 8)), first(room.data()) {
    while (reinterpret_cast<std::uintptr_t>(first) % line) ++first;
  }
  double* operator[](Size i) { return first + i * stride; }
};

template <class T> void all_rows(const Problem<T>& p, Size size, double* back, [[maybe_unused]] int threads) {
  const Size chunks = std::clamp<Size>(p.back ? size / least_rows : size, 1, most_chunks);
  Sums sums(p.back ? chunks : 0, p.width);
#pragma omp parallel for num_threads(threads) if (threads > 1 && size * p.width >= parallel) schedule(dynamic, 1)
  for (Size c = 0; c < chunks; ++c) {
    const Size begin = c * size / chunks, end = (c + 1) * size / chunks;
    SKYFOLD_BEST(rows_from_memory, p, begin, end, sums[c]);
  }
  if (!p.back) return;
  std::copy_n(sums[0], p.width, back);
  for (Size c = 1; c < chunks; ++c)
    for (Size j = 0; j < p.width; ++j) back[j] += sums[c][j];
}

// out[v][c] = in[v][c] * factor, rounded to what is stored; the first number that is negative, NaN
// or beyond the storage's range stops it. 16-bit integers count steps of the scale of their column.
template <class In, class Out>
SKYFOLD_INLINE bool convert_body(const In* in, double factor, const double* steps, Size size, Out* out) {
  constexpr double most = static_cast<double>(std::numeric_limits<Out>::max());
  int good = 1;
#pragma omp simd reduction(& : good)
  for (Size i = 0; i < size; ++i) {
    const double given = static_cast<double>(in[i]) * factor;
    if constexpr (std::is_integral_v<Out>) {
      good &= given >= 0.0 && given <= std::numeric_limits<double>::max();
      const double counted = given * steps[i] + 0.5;
      out[i] = static_cast<Out>(static_cast<std::int32_t>(counted < most ? counted : most));
    } else {
      good &= given >= 0.0 && given <= most;
      out[i] = static_cast<Out>(given);
    }
  }
  return good;
}

template <class In, class Out>
SKYFOLD_CLONES bool convert_row(const In* in, double factor, const double* steps, Size size, Out* out) {
  return convert_body(in, factor, steps, size, out);
}

template <class T> SKYFOLD_CLONES double sum_of(const T* numbers, Size size) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (Size i = 0; i < size; ++i) sum += static_cast<double>(numbers[i]);
  return sum;
}

void require(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

template <class T> const T* pointer(const Maybe<T>& array, Size size, const char* message) {
  require(!array || array->size() == size, message);
  return array ? array->data() : nullptr;
}

template <class T> T* writable(Maybe<T>& array, Size size, const char* message) {
  require(!array || array->size() == size, message);
  return array ? array->mutable_data() : nullptr;
}

template <class I> void require_rows(const I* index, Size size, Size rows) {
  I low = 0, top = 0;
#pragma omp simd reduction(min : low) reduction(max : top)
  for (Size i = 0; i < size; ++i) {
    low = index[i] < low ? index[i] : low;
    top = index[i] > top ? index[i] : top;
  }
  require(size == 0 || (low >= 0 && top < rows), "an index is out of range");
}

} // namespace

// expectation = scales * (rows @ values) + others and back = rows^T (counts / expectation); without
// values back = rows^T counts, without back only the expectation.
template <class T>
void row_products(const Array<T>& rows, const Maybe<std::int64_t>& index, const Maybe<double>& scales,
                  const Maybe<double>& values, const Maybe<double>& counts, const Maybe<double>& others,
                  Maybe<double>& expectation, Maybe<double>& back, int threads) {
  require(rows.ndim() == 2, "rows must be (bins, values)");
  require(threads >= 1, "threads must be at least 1");
  const Size size = index ? index->size() : rows.shape(0), width = rows.shape(1);
  require(values ? expectation.has_value() : back.has_value(), "nothing to compute");
  require(!back || counts.has_value(), "the transpose needs counts");
  Problem<T> p{};
  p.numbers = rows.data();
  p.width = width;
  p.index = pointer(index, size, "");
  p.scales = pointer(scales, rows.shape(0), "there must be one scale for each row");
  p.values = pointer(values, width, "there must be one value for each column");
  p.counts = pointer(counts, size, "there must be one count for each bin");
  p.others = pointer(others, size, "there must be one other expectation for each bin");
  p.expectation = writable(expectation, size, "there must be one expectation for each bin");
  p.back = back.has_value();
  double* result = writable(back, width, "back must have one number for each column");
  if (p.index) require_rows(p.index, size, rows.shape(0));
  py::gil_scoped_release unlocked;
  all_rows(p, size, result, threads);
}

// The same for cells of seen @ rows^T, in runs that share an attitude; `groups` of runs share none.
// back must hold zeros.
template <class T>
void run_products(const Array<T>& rows, const Maybe<double>& scales, const Array<std::int64_t>& row,
                  const Array<std::int64_t>& ends, const Array<std::int64_t>& attitude,
                  const Array<std::int64_t>& groups, const Maybe<double>& seen, const Maybe<double>& counts,
                  const Maybe<double>& others, Maybe<double>& expectation, Maybe<double>& back,
                  [[maybe_unused]] int threads) {
  require(rows.ndim() == 2, "rows must be (bins, values)");
  require(threads >= 1, "threads must be at least 1");
  const Size size = row.size(), width = rows.shape(1), runs = attitude.size(), many = groups.size() - 1;
  require(seen ? expectation.has_value() : back.has_value(), "nothing to compute");
  require(!back || counts.has_value(), "the transpose needs counts");
  const Size attitudes = (seen ? seen->size() : back->size()) / std::max<Size>(width, 1);
  Problem<T> p{};
  p.numbers = rows.data();
  p.width = width;
  p.index = row.data();
  p.scales = pointer(scales, rows.shape(0), "there must be one scale for each row");
  const double* sky = pointer(seen, attitudes * width, "seen must be (attitudes, values)");
  p.counts = pointer(counts, size, "there must be one count for each cell");
  p.others = pointer(others, size, "there must be one other expectation for each cell");
  p.expectation = writable(expectation, size, "there must be one expectation for each cell");
  double* result = writable(back, attitudes * width, "back must be (attitudes, values)");
  p.back = back.has_value();
  require_rows(p.index, size, rows.shape(0));
  require_rows(attitude.data(), runs, attitudes);
  const std::int64_t *end = ends.data(), *s = attitude.data(), *group = groups.data();
  const auto splits = [](const Array<std::int64_t>& parts, Size total) {
    const std::int64_t* at = parts.data();
    return parts.size() > 0 && at[0] == 0 && at[parts.size() - 1] == total && std::is_sorted(at, at + parts.size());
  };
  require(ends.size() == runs + 1 && splits(ends, size), "ends must begin at 0 and end at the number of cells");
  require(splits(groups, runs), "groups must begin at 0 and end at the number of runs");
  py::gil_scoped_release unlocked;
#pragma omp parallel for num_threads(threads) if (threads > 1 && size * width >= parallel) schedule(dynamic, 1)
  for (Size g = 0; g < many; ++g)
    for (Size r = group[g]; r < group[g + 1]; ++r) {
      Problem<T> run = p;
      if (sky) run.values = sky + s[r] * width;
      SKYFOLD_BEST(rows_from_memory, run, end[r], end[r + 1], result + s[r] * width);
    }
}

// Fills out with the numbers of a slab as they are stored. Returns the flat place of the first one
// that cannot be stored, or -1.
template <class In, class Out>
Size store(const Array<In>& slab, double factor, const Maybe<double>& steps, Array<Out>& out,
           [[maybe_unused]] int threads) {
  require(slab.ndim() == 2 && out.size() == slab.size(), "slab and out must be (values, bins)");
  const Size values = slab.shape(0), bins = slab.shape(1);
  require(!std::is_integral_v<Out> || steps, "integers need one step for each bin");
  const double* inverse = pointer(steps, bins, "there must be one step for each bin");
  const In* in = slab.data();
  Out* to = out.mutable_data();
  std::vector<char> good(static_cast<std::size_t>(values), 1);
  py::gil_scoped_release unlocked;
#pragma omp parallel for num_threads(threads) if (threads > 1 && values * bins >= parallel) schedule(static)
  for (Size v = 0; v < values; ++v) good[v] = convert_row(in + v * bins, factor, inverse, bins, to + v * bins);
  const Size v = std::find(good.begin(), good.end(), 0) - good.begin();
  if (v == values) return -1;
  Size c = 0;
  while (convert_body(in + v * bins + c, factor, inverse ? inverse + c : inverse, 1, to + v * bins + c)) ++c;
  return v * bins + c;
}

// rows[i][at + v] = slab[v][bins[i]], by tiles that fit the first cache.
template <class T>
void pick_rows(const Array<T>& slab, const Array<std::int64_t>& bins, Array<T>& rows, Size at,
               [[maybe_unused]] int threads) {
  constexpr Size tall = 64, wide = line / sizeof(T);
  require(slab.ndim() == 2 && rows.ndim() == 2, "slab must be (values, bins), rows (bins, values)");
  const Size values = slab.shape(0), all = slab.shape(1), size = bins.size(), width = rows.shape(1);
  require(rows.shape(0) == size && at >= 0 && at + values <= width, "the slab does not fit into the rows");
  const T* in = slab.data();
  const std::int64_t* bin = bins.data();
  require_rows(bin, size, all);
  T* out = rows.mutable_data();
  py::gil_scoped_release unlocked;
#pragma omp parallel for num_threads(threads) if (threads > 1 && values * size >= parallel) schedule(static)
  for (Size first = 0; first < size; first += tall) {
    T tile[tall][wide];
    const Size many = std::min(tall, size - first);
    for (Size v = 0; v < values; v += wide) {
      const Size deep = std::min(wide, values - v);
      for (Size k = 0; k < deep; ++k)
        for (Size i = 0; i < many; ++i) tile[i][k] = in[(v + k) * all + bin[first + i]];
      for (Size i = 0; i < many; ++i) std::copy_n(tile[i], deep, out + (first + i) * width + at + v);
    }
  }
}

// The sum of all numbers: how fast the memory can be read at all.
template <class T> double read_once(const Array<T>& numbers, [[maybe_unused]] int threads) {
  const Size size = numbers.size();
  const T* first = numbers.data();
  double parts[most_chunks] = {}, sum = 0.0;
  py::gil_scoped_release unlocked;
#pragma omp parallel for num_threads(threads) if (threads > 1 && size >= parallel) schedule(static)
  for (Size c = 0; c < most_chunks; ++c) {
    const Size begin = c * size / most_chunks;
    parts[c] = sum_of(first + begin, (c + 1) * size / most_chunks - begin);
  }
  for (const double part : parts) sum += part;
  return sum;
}

template <class T> void bind_storage(py::module_& m) {
  const auto none = py::none();
  m.def("row_products", &row_products<T>, py::arg("rows").noconvert(), py::arg("index").noconvert() = none,
        py::arg("scales").noconvert() = none, py::arg("values").noconvert() = none,
        py::arg("counts").noconvert() = none, py::arg("others").noconvert() = none,
        py::arg("expectation").noconvert() = none, py::arg("back").noconvert() = none, py::arg("threads") = 1);
  m.def("run_products", &run_products<T>, py::arg("rows").noconvert(), py::arg("scales").noconvert(),
        py::arg("row").noconvert(), py::arg("ends").noconvert(), py::arg("attitude").noconvert(),
        py::arg("groups").noconvert(), py::arg("seen").noconvert() = none, py::arg("counts").noconvert() = none,
        py::arg("others").noconvert() = none, py::arg("expectation").noconvert() = none,
        py::arg("back").noconvert() = none, py::arg("threads") = 1);
  m.def("store", &store<float, T>, py::arg("slab").noconvert(), py::arg("factor"), py::arg("steps").noconvert(),
        py::arg("out").noconvert(), py::arg("threads") = 1);
  m.def("store", &store<double, T>, py::arg("slab").noconvert(), py::arg("factor"), py::arg("steps").noconvert(),
        py::arg("out").noconvert(), py::arg("threads") = 1);
  m.def("pick_rows", &pick_rows<T>, py::arg("slab").noconvert(), py::arg("bins").noconvert(),
        py::arg("rows").noconvert(), py::arg("at"), py::arg("threads") = 1);
  m.def("read_once", &read_once<T>, py::arg("numbers").noconvert(), py::arg("threads") = 1);
}

void bind_rows(py::module_& m) {
  bind_storage<float>(m);
  bind_storage<double>(m);
  bind_storage<std::uint16_t>(m);
}
