// How the values of nodes are shared among their children, by Dirichlet draws.
#pragma once
#include "lanes.hpp"
#include "tree.hpp"

namespace skyfold {

// Shares out the values of all parents of a split of strength alpha, given the counts of the children. Returns the
// log density of the proportions but for its normalisation. Proportions may underflow to zero, their logarithms not.
double share_out(const Split& split, double alpha, const Size* counts, const double* parents, double* children,
                 Lanes& lanes);

} // namespace skyfold
