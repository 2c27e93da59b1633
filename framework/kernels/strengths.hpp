// The strength alpha of a level of splits: its density given the counts of the nodes, and its draws.
#pragma once
#include "random.hpp"
#include "tree.hpp"

namespace skyfold {

// A sum of multiplicity * log Gamma(count + weight * alpha).
struct Terms {
  std::vector<double> weight, count, multiplicity;

  void add(double w, double n, double m) {
    if (w > 0 && m != 0) weight.push_back(w), count.push_back(n), multiplicity.push_back(m);
  }
  void reserve(std::size_t size) { weight.reserve(size), count.reserve(size), multiplicity.reserve(size); }
  double value(double alpha) const;
};

// The terms that do not depend on the counts: the normalisation of the Dirichlet densities of a level.
Terms normalisation(const Split& split);

// The logarithm of the probability of how the counts of a level's nodes split, over all proportions.
// Nodes without counts have no part in it.
Terms evidence(const Split& split, const Size* parents, const Size* children);
Terms evidence(const Split& split, const double* parents, const double* children);

// k1 log a - k2 a^k3 - log(1 + (a / scale)^2) + constant, which is LIRA's density, or a half-Cauchy one.
struct HyperPrior {
  double k1, k2, k3, scale, constant;

  double log_density(double alpha) const;
  double draw(Stream& stream) const;
};

// The mode of the density of log alpha, to an accuracy in units of its width, and minus the second derivative
// there. A function of the counts alone, wherever alpha is.
struct Mode {
  double log_alpha, curvature;
};
Mode mode(const Terms& terms, const HyperPrior& prior, double accuracy);

// A draw that leaves the density of alpha as it is: a few proposals by independence Metropolis-Hastings.
double step(const Terms& terms, const HyperPrior& prior, double alpha, Stream& stream);

} // namespace skyfold
