// How the values of nodes are shared among their children, by Dirichlet draws.
#include <algorithm>
#include <cmath>

#include "lanes.hpp"
#include "sharing.hpp"

namespace skyfold {
namespace {

// Children of some parents.
struct Batch {
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
SKYFOLD_CLONES double share_fours(Batch& b, double alpha, const Size* counts, const double* parents, double* children,
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

// Any parents. Returns the log density of the proportions but for its normalisation.
double share_any(Batch& b, const Split& split, double alpha, const Size* counts, const double* parents,
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

} // namespace

double share_out(const Split& split, double alpha, const Size* counts, const double* parents, double* children,
                 Lanes& lanes) {
  Batch batch;
  double density = 0.0;
  const bool same = split.first.empty() && split.nominal == 4 && split.child.each.empty() && split.child.same > 0;
  const double a = alpha * split.child.same;
  for (Size p = 0, next; p < split.parents; p = next) {
    next = std::min(p + Lanes::batch / split.nominal, split.parents);
    density += same ? (a - 1) * share_fours(batch, a, counts + 4 * p, parents + p, children + 4 * p, next - p, lanes)
                    : share_any(batch, split, alpha, counts, parents, children, p, next, lanes);
  }
  return density;
}

} // namespace skyfold
