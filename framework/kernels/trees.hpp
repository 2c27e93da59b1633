// The multi-scale law of an image: what the nodes of its trees hold, given counts, strengths, or nothing.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "lanes.hpp"
#include "levels.hpp"
#include "nodes.hpp"
#include "sharing.hpp"
#include "strengths.hpp"

namespace py = pybind11;

namespace skyfold {

using Map = std::optional<Array<double>>;
using Prior = std::optional<std::array<double, 5>>;

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

inline double log_factorial(Size n) {
  static const auto low = [] {
    std::array<double, 256> made{};
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = std::lgamma(static_cast<double>(i) + 1);
    return made;
  }();
  return n < static_cast<Size>(low.size()) ? low[n] : std::lgamma(static_cast<double>(n) + 1);
}

// A tree, with what does not change from draw to draw.
struct Planted : Tree {
  std::vector<Terms> normalisations; // of the splits

  explicit Planted(Tree tree) : Tree(std::move(tree)) {
    for (const Split& split : splits) normalisations.push_back(normalisation(split));
  }
};

template <class T> Array<T> as_array(const std::vector<T>& from) {
  return Array<T>(static_cast<py::ssize_t>(from.size()), from.data());
}

// What is known of strengths and total before any counts.
struct Law {
  std::optional<HyperPrior> prior;
  Total total;

  Law(const Prior& p, std::pair<double, double> t) : total{t.first, t.second} {
    if (p) prior = HyperPrior{(*p)[0], (*p)[1], (*p)[2], (*p)[3], (*p)[4]};
  }
  // The log density of a strength, with the normalisation of the proportions.
  double of_strength(const Terms& normalisation, double alpha) const {
    return normalisation.value(alpha) + (prior ? prior->log_density(alpha) : 0.0);
  }
};

// The counts below each node of a tree, and what those of a level say of its strength.
struct Counted {
  Levels<Size> sums;
  std::vector<Terms> evidence;
};

// Trees of all energies, over values whose energies come first or last.
class Trees {
public:
  // Measure and strength of the plan, if there are any, have the shape (energies, pixels).
  Trees(Plan plan, Size energies_, Size pixels_, bool energy_last)
      : energies(energies_), pixels(pixels_), levels(static_cast<Size>(plan.branching.size())),
        pixel_stride(energy_last ? energies : 1), energy_stride(energy_last ? 1 : pixels) {
    const double *m = plan.measure, *s = plan.strength;
    const auto as_before = [&](const double* map, Size e) {
      return !map || std::equal(map + e * pixels, map + (e + 1) * pixels, map + (e - 1) * pixels);
    };
    for (Size e = 0; e < energies; ++e) {
      if (e > 0 && as_before(m, e) && as_before(s, e)) {
        trees.push_back(trees.back());
        continue;
      }
      plan.measure = m ? m + e * pixels : nullptr, plan.strength = s ? s + e * pixels : nullptr;
      trees.push_back(std::make_shared<const Planted>(plant(plan)));
    }
  }

  // Strengths given the counts, then values given both; the log density of all. Unseen, the counts are
  // none, and this is a draw from the law itself.
  py::tuple draw(const Array<Size>& counts, const Array<double>& alpha, const Prior& prior,
                 std::pair<double, double> total, const Array<double>& scale, bool seen, Key key) const {
    const auto take = [&](Size e, const Size* n, double* a, const Law& law, double s, double* x) {
      return draw_one(e, counted(e, n, law.prior.has_value()), a, law, s, seen, key, x);
    };
    return each_energy(counts, alpha, prior, total, scale, take);
  }

  // The step of expectation maximisation: strengths at their mode, proportions at their mean, the total
  // at its mode. The log density is that of the logarithms of the proportions, which it maximises.
  py::tuple maximise(const Array<double>& counts, const Array<double>& alpha, const Prior& prior,
                     std::pair<double, double> total, const Array<double>& scale) const {
    const auto take = [&](Size e, const double* n, double* a, const Law& law, double s, double* x) {
      const Planted& tree = *trees[e];
      Levels<double> sums(tree);
      sum_up(e, n, sums);
      const double top = std::max(sums.root() + law.total.shape - 1, 1e-300) / (1 + law.total.rate);
      double density = law.total.log_density(std::log(top));
      Levels<double> nodes(tree);
      *nodes.at.back() = top / s;
      for (Size level = levels - 1; level >= 0; --level) {
        const Split& split = tree.splits[level];
        const double *n_parents = sums.at[level + 1], *n_children = sums.at[level], *parents = nodes.at[level + 1];
        double* children = nodes.at[level];
        if (law.prior) a[level] = std::exp(mode(evidence(split, n_parents, n_children), *law.prior, 1e-6).log_alpha);
        for (Size p = 0; p < split.parents; ++p) {
          const double strength = a[level] * split.parent.of(p);
          for (Size c = split.begin(p); c < split.begin(p + 1); ++c) {
            const double mine = n_children[c] + a[level] * split.child.of(c);
            children[c] = strength > 0 ? parents[p] * mine / (n_parents[p] + strength) : parents[p];
          }
        }
        density += law.of_strength(tree.normalisations[level], a[level]);
        density += of_shares(split, a[level], parents, children, 0);
      }
      scatter(e, nodes.at[0], x);
      return density;
    };
    return each_energy(counts, alpha, prior, total, scale, take);
  }

  double log_density(const Array<double>& values, const Array<double>& alpha, const Prior& prior,
                     std::pair<double, double> total, const Array<double>& scale) const {
    const Law law(prior, total);
    check(values.size(), alpha, scale.size());
    const double *x = values.data(), *a = alpha.data(), *s = scale.data();
    py::gil_scoped_release unlocked;
    double density = 0.0;
    for (Size e = 0; e < energies; ++e, a += levels) {
      const Planted& tree = *trees[e];
      Levels<double> sums(tree);
      sum_up(e, x, sums, 1e-300);
      density += law.total.log_density(std::log(sums.root() * s[e]));
      for (Size level = 0; level < levels; ++level)
        density += law.of_strength(tree.normalisations[level], a[level]) +
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
    return marginal_of(counted(n, true), a, law);
  }

  // The counts of one energy, or of each.
  Counted counted(Size e, const Size* n, bool weighed) const {
    const Planted& tree = *trees[e];
    Counted found{Levels<Size>(tree), {}};
    sum_up(e, n, found.sums);
    for (Size level = 0; weighed && level < levels; ++level)
      found.evidence.push_back(evidence(tree.splits[level], found.sums.at[level + 1], found.sums.at[level]));
    return found;
  }
  std::vector<Counted> counted(const Size* n, bool weighed) const {
    std::vector<Counted> found;
    for (Size e = 0; e < energies; ++e) found.push_back(counted(e, n, weighed));
    return found;
  }

  double marginal_of(const std::vector<Counted>& counted, const double* a, const Law& law) const {
    double density = 0.0;
    for (Size e = 0; e < energies; ++e) {
      const auto& [sums, evidence] = counted[e];
      density += law.total.log_marginal(static_cast<double>(sums.root()));
      for (std::size_t i = 0; i < trees[e]->leaves.size(); ++i)
        if (sums.at[0][i] > 1) density -= log_factorial(sums.at[0][i]);
      for (const Terms& terms : evidence) density += terms.value(*a++);
    }
    return density;
  }

  // Draws values, and strengths after those given; returns the log density of both.
  double draw_all(const std::vector<Counted>& counted, const double* alpha, const Law& law, const double* scale,
                  Key key, double* a, double* x) const {
    std::copy(alpha, alpha + energies * levels, a);
    std::fill(x, x + energies * pixels, 0.0);
    double density = 0.0;
    for (Size e = 0; e < energies; ++e, a += levels) density += draw_one(e, counted[e], a, law, scale[e], true, key, x);
    return density;
  }

  // The same for one energy, strengths in place.
  double draw_one(Size e, const Counted& counted, double* a, const Law& law, double s, bool seen, Key key,
                  double* x) const {
    Stream stream(key, e);
    Lanes lanes(key, e);
    const Planted& tree = *trees[e];
    const Levels<Size>& sums = counted.sums;
    const double shape = static_cast<double>(sums.root()) + law.total.shape;
    const double log_total = stream.log_gamma(shape) - std::log(law.total.rate + (seen ? 1 : 0));
    double density = law.total.log_density(log_total);
    Levels<double> nodes(tree);
    *nodes.at.back() = std::exp(log_total) / s;
    for (Size level = levels - 1; level >= 0; --level) {
      const Split& split = tree.splits[level];
      if (law.prior) a[level] = step(counted.evidence[level], *law.prior, a[level], stream);
      density += law.of_strength(tree.normalisations[level], a[level]);
      density += share_out(split, a[level], sums.at[level], nodes.at[level + 1], nodes.at[level], lanes);
    }
    scatter(e, nodes.at[0], x);
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

  Array<std::int32_t> leaves(Size e) const { return as_array(trees.at(e)->leaves); }

  // Where the nodes of each level begin, and their number; and how they hang together.
  py::tuple linked(Size e) const {
    const Links found = links(*trees.at(e));
    std::vector<Size> begin{0};
    for (const Split& split : trees[e]->splits) begin.push_back(begin.back() + split.children);
    begin.push_back(begin.back() + 1);
    return py::make_tuple(as_array(begin), as_array(found.parent), as_array(found.child), as_array(found.leaf),
                          as_array(found.end));
  }

  std::pair<Array<double>, Array<double>> strengths(Size e, const Array<double>& alpha) const {
    if (alpha.size() != levels) throw py::value_error("there must be one alpha for each level");
    const Tree& tree = *trees.at(e);
    Array<double> own(tree.nodes()), excess(tree.nodes());
    parameters(tree, alpha.data(), own.mutable_data(), excess.mutable_data());
    return {own, excess};
  }

  // The sum of the values below each node.
  Array<double> sums(Size e, const Array<double>& values) const {
    if (values.size() != energies * pixels) throw py::value_error("there must be one number for each value");
    Levels<double> all(*trees.at(e));
    sum_up(e, values.data(), all);
    return Array<double>(trees[e]->nodes(), all.at[0]);
  }

  void check(Size size, const Array<double>& alpha, Size scales) const {
    if (size != energies * pixels) throw py::value_error("there must be one number for each value");
    if (alpha.size() != energies * levels) throw py::value_error("alpha must have the shape (energies, levels)");
    if (scales != energies) throw py::value_error("there must be one scale for each energy");
  }

  std::pair<Array<Size>, Array<Size>> tiling(Size e, Size level, int shift) const {
    if (level < 0 || level >= levels) throw py::value_error("there is no such level");
    const Tiling found = tiles(*trees.at(e), level, shift);
    return {as_array(found.start), as_array(found.nodes)};
  }

private:
  Size energies, pixels, levels, pixel_stride, energy_stride;
  std::vector<std::shared_ptr<const Planted>> trees;

  // The log density of the proportions but for its normalisation; less is 1, or 0 for that of their logarithms.
  static double of_shares(const Split& split, double alpha, const double* parents, const double* children,
                          double less) {
    double density = 0.0;
    for (Size p = 0; p < split.parents; ++p) {
      if (!(split.parent.of(p) > 0)) continue;
      const double above = std::log(std::max(parents[p], 1e-300));
      for (Size c = split.begin(p); c < split.begin(p + 1); ++c)
        density += (alpha * split.child.of(c) - less) * (std::log(std::max(children[c], 1e-300)) - above);
    }
    return density;
  }

  // The values below each node, none less than a floor.
  template <class T> void sum_up(Size e, const T* from, Levels<T>& sums, T floor = 0) const {
    const Planted& tree = *trees[e];
    const std::int32_t* leaf = tree.leaves.data();
    const Size size = static_cast<Size>(tree.leaves.size());
    T* to = sums.at[0];
    from += e * energy_stride;
    if (pixel_stride == 1)
      for (Size i = 0; i < size; ++i) to[i] = std::max(from[leaf[i]], floor);
    else
      for (Size i = 0; i < size; ++i) to[i] = std::max(from[leaf[i] * pixel_stride], floor);
    sums.sum_up(tree);
  }

  void scatter(Size e, const double* from, double* to) const {
    to += e * energy_stride;
    for (const std::int32_t leaf : trees[e]->leaves) to[leaf * pixel_stride] = *from++;
  }

  // Takes a step for each energy; returns the values and strengths that it leaves, and the sum of what it returns.
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

} // namespace skyfold
