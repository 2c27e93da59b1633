#include "strengths.hpp"

#include "elementary.hpp"

namespace skyfold {

namespace {

SKYFOLD_CLONES double sum_log_gamma(const double* w, const double* n, const double* m, Size size, double a) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (Size i = 0; i < size; ++i) sum += m[i] * log_gamma_of(n[i] + w[i] * a);
  return sum;
}

// The derivatives of the same by alpha.
SKYFOLD_CLONES Slopes sum_slopes(const double* w, const double* n, const double* m, Size size, double a) {
  double first = 0.0, second = 0.0;
#pragma omp simd reduction(+ : first, second)
  for (Size i = 0; i < size; ++i) {
    const auto [d1, d2] = slopes_of_log_gamma(n[i] + w[i] * a);
    first += m[i] * w[i] * d1, second += m[i] * w[i] * w[i] * d2;
  }
  return {first, second};
}

void count_each(Terms& terms, const Weights& weights, Size nodes, double sign) {
  if (weights.each.empty()) return terms.add(weights.same, 0, sign * static_cast<double>(nodes));
  if (weights.kinds.empty()) {
    for (const double w : weights.each) terms.add(w, 0, sign);
    return;
  }
  std::vector<double> number(weights.kinds.size());
  for (const std::uint8_t kind : weights.kind) ++number[kind];
  for (std::size_t k = 0; k < number.size(); ++k) terms.add(weights.kinds[k], 0, sign * number[k]);
}

// Nodes of equal weight and count make one term. Small counts are counted in a table, four times over: one
// increment need not wait for the last.
void gather(Terms& terms, const Weights& weights, const Size* counts, Size nodes, double sign) {
  constexpr Size low = 128;
  const bool same = weights.each.empty();
  const Size kinds = same ? 1 : static_cast<Size>(weights.kinds.size()), part = kinds * low;
  std::vector<std::uint32_t> table(part * 4), many(kinds);
  std::uint32_t* const to[] = {table.data(), table.data() + part, table.data() + 2 * part, table.data() + 3 * part};
  Size bound = 0; // no count in the table is larger
  const auto weight = [&](Size kind) { return same ? weights.same : weights.kinds[kind]; };
  const auto count = [&](Size i, int way) {
    const Size kind = same ? 0 : weights.kind[i];
    if (counts[i] < low)
      bound |= counts[i], ++to[way][kind * low + counts[i]];
    else
      ++many[kind], terms.add(weight(kind), static_cast<double>(counts[i]), sign);
  };
  Size i = 0;
  for (; i + 4 <= nodes; i += 4) {
    const Size* n = counts + i;
    if (const Size all = n[0] | n[1] | n[2] | n[3]; same && all < low)
      bound |= all, ++to[0][n[0]], ++to[1][n[1]], ++to[2][n[2]], ++to[3][n[3]];
    else
      for (int way = 0; way < 4; ++way) count(i + way, way);
  }
  for (; i < nodes; ++i) count(i, 0);
  for (Size kind = 0; kind < kinds; ++kind) {
    std::uint32_t number = many[kind];
    for (Size n = 1; n <= bound; ++n) {
      const Size at = kind * low + n;
      const std::uint32_t found = (to[0][at] + to[1][at]) + (to[2][at] + to[3][at]);
      number += found;
      terms.add(weight(kind), static_cast<double>(n), sign * found);
    }
    terms.add(weight(kind), 0, -sign * number);
  }
}

// Each node makes its own terms.
template <class Count>
void list_all(Terms& terms, const Weights& weights, const Count* counts, Size nodes, double sign) {
  for (Size i = 0; i < nodes; ++i) {
    if (!(counts[i] > 0)) continue;
    terms.add(weights.of(i), static_cast<double>(counts[i]), sign);
    terms.add(weights.of(i), 0, -sign);
  }
}

// Beyond these alpha means nothing any more, and the sums above lose their digits.
constexpr double lowest = -60.0, highest = 16.0;

constexpr int proposals = 6; // three in four are accepted

struct Shape {
  double first, second; // of the density of log alpha, by log alpha
};

Shape shape(const Terms& terms, const HyperPrior& p, double log_alpha) {
  const double a = std::exp(log_alpha), q = (a / p.scale) * (a / p.scale);
  const double falling = p.k2 > 0 ? p.k2 * p.k3 * std::exp(p.k3 * log_alpha) : 0.0;
  const Slopes s = sum_slopes(terms.weight.data(), terms.count.data(), terms.multiplicity.data(),
                              static_cast<Size>(terms.weight.size()), a);
  const double first = a * s.first;
  return {first + p.k1 + 1 - falling - 2 * q / (1 + q),
          first + a * a * s.second - p.k3 * falling - 4 * q / ((1 + q) * (1 + q))};
}

} // namespace

double Terms::value(double alpha) const {
  return sum_log_gamma(weight.data(), count.data(), multiplicity.data(), static_cast<Size>(weight.size()), alpha);
}

Terms normalisation(const Split& split) {
  Terms terms;
  count_each(terms, split.parent, split.parents, 1);
  count_each(terms, split.child, split.children, -1);
  return terms;
}

Terms evidence(const Split& split, const Size* parents, const Size* children) {
  Terms terms;
  terms.reserve(256);
  const auto add = [&](const Weights& weights, const Size* counts, Size nodes, double sign) {
    const bool all_differ = !weights.each.empty() && weights.kinds.empty();
    all_differ ? list_all(terms, weights, counts, nodes, sign) : gather(terms, weights, counts, nodes, sign);
  };
  add(split.child, children, split.children, 1);
  add(split.parent, parents, split.parents, -1);
  return terms;
}

Terms evidence(const Split& split, const double* parents, const double* children) {
  Terms terms;
  list_all(terms, split.child, children, split.children, 1);
  list_all(terms, split.parent, parents, split.parents, -1);
  return terms;
}

double HyperPrior::log_density(double alpha) const {
  const double q = alpha / scale;
  return k1 * std::log(alpha) - k2 * std::pow(alpha, k3) - std::log1p(q * q) + constant;
}

double HyperPrior::draw(Stream& stream) const {
  if (k2 > 0) return std::exp((stream.log_gamma((k1 + 1) / k3) - std::log(k2)) / k3);
  return scale * std::tan(1.5707963267948966 * stream.uniform());
}

Mode mode(const Terms& terms, const HyperPrior& prior, double accuracy) {
  double at = -2.0, low = lowest, high = highest;
  for (;;) {
    const auto [first, second] = shape(terms, prior, at);
    (first > 0 ? low : high) = at;
    const double newton = second < 0 ? -first / second : first;
    double next = at + std::clamp(newton, -1.5, 1.5);
    if (!(next > low && next < high)) next = 0.5 * (low + high);
    const double curvature = std::max(-second, 0.02), close = accuracy / std::sqrt(curvature);
    if (std::abs(next - at) < close || high - low < close) return {next, curvature};
    at = next;
  }
}

// The proposals are Student's, of four degrees of freedom, around the mode: their tails are not lighter
// than those of the density, so that no value holds the chain for long.
double step(const Terms& terms, const HyperPrior& prior, double alpha, Stream& stream) {
  if (terms.weight.empty()) return prior.draw(stream);
  const auto [centre, curvature] = mode(terms, prior, 0.05);
  const double width = 1.3 / std::sqrt(curvature);
  const auto balance = [&](double at, double z) { // log density over log density of the proposal
    const double a = std::exp(at);
    return terms.value(a) + prior.log_density(a) + at + 2.5 * std::log1p(z * z / 4);
  };
  double at = std::log(alpha), here = balance(at, (at - centre) / width);
  for (int i = 0; i < proposals; ++i) {
    const double z = stream.normal() / std::sqrt(stream.gamma(2.0) / 2);
    const double next = centre + width * z;
    if (!(next > lowest && next < highest)) continue;
    const double there = balance(next, z);
    if (std::log(stream.uniform()) < there - here) at = next, here = there;
  }
  return std::exp(at);
}

} // namespace skyfold
