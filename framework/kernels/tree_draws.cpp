// The multi-scale law of an image: what its nodes hold, given counts, strengths, or nothing.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "lanes.hpp"
#include "strengths.hpp"

namespace py = pybind11;

namespace skyfold {
namespace {

using Map = std::optional<Array<double>>;
using Prior = std::optional<std::array<double, 5>>;

// Values of all nodes, level by level: leaves in the order of the tree first, the root last.
template <class T> struct Levels {
  std::unique_ptr<T[]> all;
  std::vector<T*> at;

  explicit Levels(const Tree& tree) : all(new T[tree.nodes()]), at{all.get()} {
    for (const Split& split : tree.splits) at.push_back(at.back() + split.children);
  }

  T root() const { return *at.back(); }

  void sum_up(const Tree& tree) {
    for (std::size_t level = 0; level < tree.splits.size(); ++level) {
      const Split& split = tree.splits[level];
      const T* from = at[level];
      T* to = at[level + 1];
      if (split.first.empty() && split.nominal == 4) {
        for (Size p = 0; p < split.parents; ++p, from += 4) to[p] = (from[0] + from[1]) + (from[2] + from[3]);
        continue;
      }
      for (Size p = 0; p < split.parents; ++p) {
        to[p] = 0;
        for (Size c = split.begin(p); c < split.begin(p + 1); ++c) to[p] += from[c];
      }
    }
  }
};

// The Gamma density of the total.
struct Total {
  double shape, rate;

  double log_density(double log_total) const {
    return shape * std::log(rate) - std::lgamma(shape) + (shape - 1) * log_total - rate * std::exp(log_total);
  }
  // The logarithm of its negative binomial probability of n counts, times n!.
  double log_marginal(double n) const {
    return std::lgamma(n + shape) - std::lgamma(shape) + shape * std::log(rate) - (n + shape) * std::log1p(rate);
  }
};

// A block of parents, few enough for a batch of children, shares out their values by a Dirichlet draw.
struct Block {
  alignas(64) double shape[Lanes::batch], g[Lanes::batch], log_g[Lanes::batch]; // of the children
  alignas(64) double sum[Lanes::batch], log_sum[Lanes::batch];                  // of those of each parent
};

SKYFOLD_CLONES void draw_gammas(Lanes& lanes, const double* shape, Size size, double* g, double* log_g) {
  lanes.gamma(shape, size, g, log_g);
}

SKYFOLD_CLONES void take_logs(const double* sum, Size size, double* log_sum) {
#pragma omp simd
  for (Size p = 0; p < size; ++p) log_sum[p] += log_of(sum[p]);
}

// Where all four children underflow their sum is taken relative to the largest. Returns the logarithm of that.
double rescue(double* g, const double* log_g, Size size, double* sum) {
  const double largest = *std::max_element(log_g, log_g + size);
  *sum = 0.0;
  for (Size i = 0; i < size; ++i) *sum += g[i] = std::exp(log_g[i] - largest);
  return largest;
}

constexpr double least = 1e-250; // of a sum that did not underflow

// Fours of one Dirichlet parameter. Returns the sum of the logarithms of the proportions.
template <class Count>
SKYFOLD_INLINE double fours(Block& b, double alpha, const Count* counts, const double* parents, double* children,
                            Size size, Lanes& lanes) {
  for (Size i = 0; i < 4 * size; ++i) b.shape[i] = alpha + static_cast<double>(counts[i]);
  lanes.gamma(b.shape, 4 * size, b.g, b.log_g);
  double lowest = 1.0, density = 0.0;
#pragma omp simd reduction(min : lowest)
  for (Size p = 0; p < size; ++p) {
    const double* g = b.g + 4 * p;
    b.sum[p] = (g[0] + g[1]) + (g[2] + g[3]), b.log_sum[p] = 0.0;
    lowest = b.sum[p] < lowest ? b.sum[p] : lowest;
  }
  for (Size p = 0; lowest < least && p < size; ++p)
    if (b.sum[p] < least) b.log_sum[p] = rescue(b.g + 4 * p, b.log_g + 4 * p, 4, b.sum + p);
#pragma omp simd reduction(+ : density)
  for (Size p = 0; p < size; ++p) {
    const double* l = b.log_g + 4 * p;
    density += (l[0] + l[1]) + (l[2] + l[3]) - 4 * (b.log_sum[p] + log_of(b.sum[p]));
    b.sum[p] = parents[p] / b.sum[p];
  }
#pragma omp simd
  for (Size i = 0; i < 4 * size; ++i) children[i] = b.g[i] * b.sum[i / 4];
  return density;
}
SKYFOLD_CLONES double share_fours(Block& b, double alpha, const Size* counts, const double* parents, double* children,
                                  Size size, Lanes& lanes) {
  return fours(b, alpha, counts, parents, children, size, lanes);
}

// Any parents. Returns the log density of the proportions but for its normalisation.
double share_any(Block& b, const Split& split, double alpha, const Size* counts, const double* parents,
                 double* children, Size from, Size to, Lanes& lanes) {
  const Size first = split.begin(from), size = split.begin(to) - first;
  const auto end_of = [&](Size p) { return split.begin(p + 1) - first; };
  for (Size i = 0; i < size; ++i) {
    const double a = alpha * split.child.of(first + i);
    b.shape[i] = a > 0 ? a + static_cast<double>(counts[first + i]) : 1.0;
  }
  draw_gammas(lanes, b.shape, size, b.g, b.log_g);
  for (Size p = from, i = 0; p < to; ++p) {
    const Size begin = i;
    double sum = 0.0, shift = 0.0;
    for (; i < end_of(p); ++i) sum += b.g[i];
    if (sum < least) shift = rescue(b.g + begin, b.log_g + begin, i - begin, &sum);
    b.sum[p - from] = sum, b.log_sum[p - from] = shift;
  }
  take_logs(b.sum, to - from, b.log_sum);
  double density = 0.0;
  for (Size p = from, i = 0; p < to; ++p) {
    const double scale = parents[p] / b.sum[p - from], log_sum = b.log_sum[p - from];
    if (end_of(p) - i == 1) { // nothing to split
      children[first + i++] = parents[p];
      continue;
    }
    for (; i < end_of(p); ++i) {
      children[first + i] = b.g[i] * scale;
      density += (alpha * split.child.of(first + i) - 1) * (b.log_g[i] - log_sum);
    }
  }
  return density;
}

double share_out(const Split& split, double alpha, const Size* counts, const double* parents, double* children,
                 Lanes& lanes) {
  Block block;
  double density = 0.0;
  const bool same = split.first.empty() && split.nominal == 4 && split.child.each.empty() && split.child.same > 0;
  const double a = alpha * split.child.same;
  for (Size p = 0, next; p < split.parents; p = next) {
    next = std::min(p + Lanes::batch / split.nominal, split.parents);
    density += same ? (a - 1) * share_fours(block, a, counts + 4 * p, parents + p, children + 4 * p, next - p, lanes)
                    : share_any(block, split, alpha, counts, parents, children, p, next, lanes);
  }
  return density;
}

// Trees of all energies, over values whose energies come first or last.
class Trees {
public:
  Trees(const Array<std::int32_t>& order, std::vector<int> branching, Size energies_, Size pixels_, bool energy_last,
        const Map& measure, const Map& strength, std::vector<double> factors)
      : energies(energies_), pixels(pixels_), levels(static_cast<Size>(branching.size())),
        pixel_stride(energy_last ? energies : 1), energy_stride(energy_last ? 1 : pixels) {
    Size places = 1;
    for (const int number : branching) places *= number;
    if (places != order.size() || factors.size() != branching.size())
      throw py::value_error("order and factors must fit the branching");
    if (*std::max_element(order.data(), order.data() + places) >= pixels)
      throw py::value_error("order must hold pixels, or -1");
    for (const Map* map : {&measure, &strength})
      if (*map && (*map)->size() != energies * pixels)
        throw py::value_error("measure and strength must have the shape (energies, pixels)");
    const double *m = measure ? measure->data() : nullptr, *s = strength ? strength->data() : nullptr;
    const auto as_before = [&](const double* map, Size e) {
      return !map || std::equal(map + e * pixels, map + (e + 1) * pixels, map + (e - 1) * pixels);
    };
    Plan plan{order.data(), places, std::move(branching), nullptr, nullptr, std::move(factors)};
    py::gil_scoped_release unlocked;
    for (Size e = 0; e < energies; ++e) {
      if (e > 0 && as_before(m, e) && as_before(s, e)) {
        trees.push_back(trees.back());
        continue;
      }
      plan.measure = m ? m + e * pixels : nullptr, plan.strength = s ? s + e * pixels : nullptr;
      trees.push_back(std::make_shared<const Tree>(plant(plan)));
    }
  }

  // Strengths given the counts, then values given both; the log density of all. Unseen, the counts are
  // none, and this is a draw from the law itself.
  py::tuple draw(const Array<Size>& counts, const Array<double>& alpha, const Prior& prior,
                 std::pair<double, double> total, const Array<double>& scale, bool seen, Key key) const {
    return each_energy(counts, alpha, prior, total, scale, [&](Size e, const Size* n, double* a, const auto& law, double s, double* x) {
      Stream stream(key, e);
      Lanes lanes(key, e);
      const Tree& tree = *trees[e];
      const Levels<Size> sums = sums_of(e, n);
      const double log_total = stream.log_gamma(static_cast<double>(sums.root()) + law.total.shape) - std::log(law.total.rate + (seen ? 1 : 0));
      double density = law.total.log_density(log_total);
      Levels<double> nodes(tree);
      *nodes.at.back() = std::exp(log_total) / s;
      for (Size level = levels - 1; level >= 0; --level) {
        const Split& split = tree.splits[level];
        if (law.prior) a[level] = step(evidence(split, sums.at[level + 1], sums.at[level]), *law.prior, a[level], stream);
        density += law.of_strength(split, a[level]);
        density += share_out(split, a[level], sums.at[level], nodes.at[level + 1], nodes.at[level], lanes);
      }
      scatter(e, nodes.at[0], x);
      return density;
    });
  }

  // The step of expectation maximisation: strengths at their mode, proportions at their mean, the total
  // at its mode. The log density is that of the logarithms of the proportions, which it maximises.
  py::tuple maximise(const Array<double>& counts, const Array<double>& alpha, const Prior& prior,
                     std::pair<double, double> total, const Array<double>& scale) const {
    return each_energy(counts, alpha, prior, total, scale, [&](Size e, const double* n, double* a, const auto& law, double s, double* x) {
      const Tree& tree = *trees[e];
      const Levels<double> sums = sums_of(e, n);
      const double top = std::max(sums.root() + law.total.shape - 1, 1e-300) / (1 + law.total.rate);
      double density = law.total.log_density(std::log(top));
      Levels<double> nodes(tree);
      *nodes.at.back() = top / s;
      for (Size level = levels - 1; level >= 0; --level) {
        const Split& split = tree.splits[level];
        if (law.prior) a[level] = std::exp(mode(evidence(split, sums.at[level + 1], sums.at[level]), *law.prior).log_alpha);
        for (Size p = 0; p < split.parents; ++p) {
          const double above = sums.at[level + 1][p] + a[level] * split.parent.of(p);
          for (Size c = split.begin(p); c < split.begin(p + 1); ++c) {
            const double mine = sums.at[level][c] + a[level] * split.child.of(c);
            nodes.at[level][c] = split.parent.of(p) > 0 ? nodes.at[level + 1][p] * mine / above : nodes.at[level + 1][p];
          }
        }
        density += law.of_strength(split, a[level]) + of_shares(split, a[level], nodes.at[level + 1], nodes.at[level], 0);
      }
      scatter(e, nodes.at[0], x);
      return density;
    });
  }

  double log_density(const Array<double>& values, const Array<double>& alpha, const Prior& prior,
                     std::pair<double, double> total, const Array<double>& scale) const {
    const Law law(prior, total);
    check(values.size(), alpha, scale.size());
    const double *x = values.data(), *a = alpha.data(), *s = scale.data();
    py::gil_scoped_release unlocked;
    double density = 0.0;
    for (Size e = 0; e < energies; ++e, a += levels) {
      const Tree& tree = *trees[e];
      const Levels<double> sums = sums_of(e, x, 1e-300);
      density += law.total.log_density(std::log(sums.root() * s[e]));
      for (Size level = 0; level < levels; ++level)
        density += law.of_strength(tree.splits[level], a[level]) +
                   of_shares(tree.splits[level], a[level], sums.at[level + 1], sums.at[level], 1);
    }
    return density;
  }

  double log_marginal(const Array<Size>& counts, const Array<double>& alpha, std::pair<double, double> total) const {
    const Law law(std::nullopt, total);
    check(counts.size(), alpha, energies);
    const double* a = alpha.data();
    const Size* n = counts.data();
    py::gil_scoped_release unlocked;
    double density = 0.0;
    for (Size e = 0; e < energies; ++e, a += levels) {
      const Tree& tree = *trees[e];
      const Levels<Size> sums = sums_of(e, n);
      density += law.total.log_marginal(static_cast<double>(sums.root()));
      for (std::size_t i = 0; i < tree.leaves.size(); ++i)
        if (sums.at[0][i] > 1) density -= std::lgamma(static_cast<double>(sums.at[0][i]) + 1);
      for (Size level = 0; level < levels; ++level)
        density += evidence(tree.splits[level], sums.at[level + 1], sums.at[level]).value(a[level]);
    }
    return density;
  }

  // For each level: the first child of every parent and one more, and the weights of children and parents.
  py::list splits(Size e) const {
    py::list found;
    for (const Split& split : trees.at(e)->splits) {
      Array<Size> first(split.parents + 1);
      Array<double> children(split.children), parents(split.parents);
      for (Size p = 0; p <= split.parents; ++p) first.mutable_at(p) = split.begin(p);
      for (Size c = 0; c < split.children; ++c) children.mutable_at(c) = split.child.of(c);
      for (Size p = 0; p < split.parents; ++p) parents.mutable_at(p) = split.parent.of(p);
      found.append(py::make_tuple(first, children, parents));
    }
    return found;
  }

  Array<std::int32_t> leaves(Size e) const {
    const auto& from = trees.at(e)->leaves;
    return Array<std::int32_t>(static_cast<py::ssize_t>(from.size()), from.data());
  }

private:
  Size energies, pixels, levels, pixel_stride, energy_stride;
  std::vector<std::shared_ptr<const Tree>> trees;

  struct Law {
    std::optional<HyperPrior> prior;
    Total total;

    Law(const Prior& p, std::pair<double, double> t) : total{t.first, t.second} {
      if (p) prior = HyperPrior{(*p)[0], (*p)[1], (*p)[2], (*p)[3], (*p)[4]};
    }
    // The log density of a strength, with the normalisation of the proportions.
    double of_strength(const Split& split, double alpha) const {
      return normalisation(split).value(alpha) + (prior ? prior->log_density(alpha) : 0.0);
    }
  };

  // The log density of the proportions but for its normalisation; less is 1, or 0 for that of their logarithms.
  static double of_shares(const Split& split, double alpha, const double* parents, const double* children, double less) {
    double density = 0.0;
    for (Size p = 0; p < split.parents; ++p) {
      if (!(split.parent.of(p) > 0)) continue;
      const double above = std::log(std::max(parents[p], 1e-300));
      for (Size c = split.begin(p); c < split.begin(p + 1); ++c)
        density += (alpha * split.child.of(c) - less) * (std::log(std::max(children[c], 1e-300)) - above);
    }
    return density;
  }

  void check(Size size, const Array<double>& alpha, Size scales) const {
    if (size != energies * pixels) throw py::value_error("there must be one number for each value");
    if (alpha.size() != energies * levels) throw py::value_error("alpha must have the shape (energies, levels)");
    if (scales != energies) throw py::value_error("there must be one scale for each energy");
  }

  template <class T> Levels<T> sums_of(Size e, const T* from, T floor = 0) const {
    const Tree& tree = *trees[e];
    Levels<T> sums(tree);
    T* to = sums.at[0];
    from += e * energy_stride;
    for (const std::int32_t leaf : tree.leaves) *to++ = std::max(from[leaf * pixel_stride], floor);
    sums.sum_up(tree);
    return sums;
  }

  void scatter(Size e, const double* from, double* to) const {
    to += e * energy_stride;
    for (const std::int32_t leaf : trees[e]->leaves) to[leaf * pixel_stride] = *from++;
  }

  // Runs a step of each energy, and returns the values and strengths that it leaves, and the sum of what it returns.
  template <class Count, class Step>
  py::tuple each_energy(const Array<Count>& counts, const Array<double>& alpha, const Prior& prior,
                        std::pair<double, double> total, const Array<double>& scale, Step take) const {
    check(counts.size(), alpha, scale.size());
    Array<double> values(std::vector<py::ssize_t>(counts.shape(), counts.shape() + counts.ndim()));
    Array<double> strengths(std::vector<py::ssize_t>{energies, levels});
    double density = 0.0, *x = values.mutable_data(), *a = strengths.mutable_data();
    const double *start = alpha.data(), *s = scale.data();
    const Count* n = counts.data();
    {
      py::gil_scoped_release unlocked;
      const Law law(prior, total);
      std::copy(start, start + energies * levels, a);
      std::fill(x, x + energies * pixels, 0.0);
      for (Size e = 0; e < energies; ++e, a += levels) density += take(e, n, a, law, s[e], x);
    }
    return py::make_tuple(values, strengths, density);
  }
};

// The pixels of an image in the order of the quad-tree of a square frame, -1 where there is none; the frame
// begins at the pixel (row, column) and goes round.
Array<std::int32_t> quad_order(Size ny, Size nx, Size side, Size row, Size column) {
  Array<std::int32_t> order(side * side);
  std::int32_t* to = order.mutable_data();
  py::gil_scoped_release unlocked;
  const auto bits = [](Size place) { // every other bit
    Size index = 0;
    for (int bit = 0; place >> (2 * bit); ++bit) index |= (place >> (2 * bit) & 1) << bit;
    return index;
  };
  // eight bits at a time: the low half of the order is a table, the high half the place of its block
  const Size inner = std::min<Size>(side, 16);
  std::vector<std::pair<Size, Size>> inside;
  for (Size place = 0; place < inner * inner; ++place) inside.emplace_back(bits(place >> 1), bits(place));
  for (Size block = 0; block < side * side / (inner * inner); ++block) {
    const Size y0 = bits(block >> 1) * inner + row, x0 = bits(block) * inner + column;
    for (const auto& [dy, dx] : inside) {
      const Size y = (y0 + dy) & (side - 1), x = (x0 + dx) & (side - 1);
      *to++ = y < ny && x < nx ? static_cast<std::int32_t>(y * nx + x) : -1;
    }
  }
  return order;
}

// Counts, and a Poisson draw of those that were missed.
Array<Size> with_missed(const Array<Size>& counts, const Array<double>& values, const Array<double>& missed, Key key) {
  const Size size = counts.size();
  if (values.size() != size || missed.size() != size) throw py::value_error("counts, values and missed must have the same size");
  Array<Size> all(std::vector<py::ssize_t>(counts.shape(), counts.shape() + counts.ndim()));
  const Size* n = counts.data();
  const double *x = values.data(), *m = missed.data();
  Size* to = all.mutable_data();
  py::gil_scoped_release unlocked;
  Stream stream(key, 0, 3);
  for (Size i = 0; i < size; ++i) to[i] = n[i] + stream.poisson(m[i] * x[i]);
  return all;
}

} // namespace
} // namespace skyfold

void bind_trees(py::module_& m) {
  using namespace skyfold;
  py::class_<Trees>(m, "Trees")
      .def(py::init<const Array<std::int32_t>&, std::vector<int>, Size, Size, bool, const Map&, const Map&, std::vector<double>>(),
           py::arg("order"), py::arg("branching"), py::arg("energies"), py::arg("pixels"), py::arg("energy_last"),
           py::arg("measure"), py::arg("strength"), py::arg("factors"))
      .def("draw", &Trees::draw, py::arg("counts").noconvert(), py::arg("alpha"), py::arg("prior"), py::arg("total"),
           py::arg("scale"), py::arg("seen"), py::arg("key"))
      .def("maximise", &Trees::maximise, py::arg("counts"), py::arg("alpha"), py::arg("prior"), py::arg("total"), py::arg("scale"))
      .def("log_density", &Trees::log_density, py::arg("values"), py::arg("alpha"), py::arg("prior"), py::arg("total"), py::arg("scale"))
      .def("log_marginal", &Trees::log_marginal, py::arg("counts").noconvert(), py::arg("alpha"), py::arg("total"))
      .def("splits", &Trees::splits, py::arg("energy"))
      .def("leaves", &Trees::leaves, py::arg("energy"));
  m.def("quad_order", &quad_order, py::arg("ny"), py::arg("nx"), py::arg("side"), py::arg("row"), py::arg("column"));
  m.def("with_missed", &with_missed, py::arg("counts").noconvert(), py::arg("values"), py::arg("missed"), py::arg("key"));
}
