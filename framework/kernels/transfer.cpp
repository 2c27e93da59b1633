// Metropolis-Hastings moves of light between nodes of a tree, at counts that nobody attributed.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "elementary.hpp"
#include "random.hpp"

namespace py = pybind11;
using skyfold::Key;
using skyfold::Stream;
using Size = std::ptrdiff_t;

namespace {

constexpr double tiny = 1e-290;                        // what has less takes no part
constexpr double steps[] = {0.15, 0.5, 1.5, 5.0};      // of the logarithm of the ratio of two nodes
constexpr double swaps = 0.25, anew = 0.25;            // shares of the trials that swap, and that forget the ratio

// The nodes of a tree, leaves first, level by level; children, and leaves, of a node are neighbours.
struct Nodes {
  double* sum;
  const std::int32_t *parent, *child;        // first child of each node, and one more
  const std::int32_t *leaf, *end;            // first leaf of each node, and the one after the last
  const double *strength, *power;            // Dirichlet parameters; the same minus those of the children

  // Sum of a node one of whose children changes. No difference is taken: it would lose what is small.
  double with(std::int32_t node, std::int32_t changed, double value) const {
    double total = 0.0;
    for (std::int32_t c = child[node]; c < child[node + 1]; ++c) total += c == changed ? value : sum[c];
    return total;
  }
};

// What a node of a group is for the likelihood: the light of one unit of it in each bin of the group.
struct Member {
  std::int32_t node;
  double sum, log, before, sensitivity;
  std::vector<double> column;
};

// The bins with counts that a group lights.
struct Seen {
  std::vector<std::int32_t> slot; // of every bin of the data, -1 if it is not among them
  std::vector<std::int64_t> bins;
  std::vector<double> counts, mu, trial;
};

// Sum of n log e after the move; not a number if something is no longer positive.
SKYFOLD_CLONES double move(const double* n, const double* mu, const double* to, const double* from, double amount, double* trial,
                           Size size) {
  double fit = 0.0, low = 1.0;
#pragma omp simd reduction(+ : fit) reduction(min : low)
  for (Size i = 0; i < size; ++i) {
    const double e = mu[i] + amount * (to[i] - from[i]);
    trial[i] = e;
    low = e < low ? e : low;
    fit += n[i] * log_of(e);
  }
  return low > tiny ? fit : NAN;
}

// A node that changes, on its way up the tree.
struct Climber {
  std::int32_t node;
  double sum;

  void climb(const Nodes& nodes) {
    const std::int32_t parent = nodes.parent[node];
    sum = nodes.with(parent, node, sum), node = parent;
  }
};

// Calls visit for each node above two that change, up to where their ways meet.
template <class Visit> void above(const Nodes& nodes, Climber a, Climber b, Visit visit) {
  a.climb(nodes), b.climb(nodes);
  while (a.node != b.node) {
    Climber& lower = a.node < b.node ? a : b; // parents come after their children
    visit(lower);
    lower.climb(nodes);
  }
}

class Group {
public:
  Group(const Nodes& nodes, Seen& seen) : nodes(nodes), seen(seen) {}

  void gather(const std::int64_t* first, const std::int64_t* last, const std::int64_t* row, const std::int64_t* start,
              const std::int64_t* bins, const double* weights, const double* sensitivity, const double* counts, const double* mu) {
    members.resize(static_cast<std::size_t>(last - first));
    for (Member& m : members) {
      m.node = static_cast<std::int32_t>(*first++);
      m.before = m.sum = nodes.sum[m.node];
      m.log = std::log(m.sum);
      m.sensitivity = 0.0;
      m.column.assign(seen.bins.size(), 0.0);
      for (std::int32_t leaf = nodes.leaf[m.node]; leaf < nodes.end[m.node]; ++leaf) {
        const double share = m.sum > tiny ? nodes.sum[leaf] / m.sum : 0.0;
        m.sensitivity += share * sensitivity[leaf];
        for (std::int64_t j = start[row[leaf]]; j < start[row[leaf] + 1]; ++j) {
          const std::int64_t bin = bins[j];
          if (!(counts[bin] > 0)) continue;
          std::int32_t& slot = seen.slot[bin];
          if (slot < 0) {
            slot = static_cast<std::int32_t>(seen.bins.size());
            seen.bins.push_back(bin), seen.counts.push_back(counts[bin]), seen.mu.push_back(mu[bin]);
            m.column.push_back(0.0);
          }
          m.column[slot] += share * weights[j];
        }
      }
    }
    const std::size_t size = seen.bins.size();
    for (Member& m : members) m.column.resize(size, 0.0);
    seen.trial.resize(size);
    fit = move(seen.counts.data(), seen.mu.data(), seen.mu.data(), seen.mu.data(), 0.0, seen.trial.data(), static_cast<Size>(size));
  }

  // Returns whether it was accepted. What is not a number is not.
  bool attempt(Stream& stream) {
    const std::size_t size = members.size(), i = bright(stream), j = (i + 1 + stream.below(size - 1)) % size;
    Member &a = members[i], &b = members[j];
    const double kind = stream.uniform(), u = stream.uniform(), strength_a = nodes.strength[a.node], strength_b = nodes.strength[b.node];
    const bool swap = kind < swaps, fresh = !swap && kind < swaps + anew && strength_a > 0 && strength_b > 0;
    double odds = a.log - b.log;
    if (fresh) odds = stream.log_gamma(strength_a) - stream.log_gamma(strength_b);
    else if (!swap) odds += steps[stream.below(4)] * stream.normal();
    if (!(a.sum > tiny && b.sum > tiny)) return false;
    const double both = std::log(a.sum + b.sum);
    const double log_a = swap ? b.log : both - std::log1p(std::exp(-odds)), log_b = swap ? a.log : both - std::log1p(std::exp(odds));
    const double sum_a = swap ? b.sum : std::exp(log_a), sum_b = swap ? a.sum : std::exp(log_b), amount = sum_a - a.sum;
    if (!(sum_a > tiny && sum_b > tiny)) return false;
    // Of both by themselves: nothing if they are drawn from just that. The density of the walk is one by
    // the logarithm of the odds, which has one power more than that of the sums.
    const double one = swap ? 1.0 : 0.0;
    double change = fresh ? 0.0 : (strength_a - one) * (log_a - a.log) + (strength_b - one) * (log_b - b.log);
    above(nodes, {a.node, sum_a}, {b.node, sum_b},
          [&](const Climber& c) { change += nodes.power[c.node] * std::log(c.sum / nodes.sum[c.node]); });
    const double next = move(seen.counts.data(), seen.mu.data(), a.column.data(), b.column.data(), amount, seen.trial.data(),
                             static_cast<Size>(seen.bins.size()));
    change += next - fit - amount * (a.sensitivity - b.sensitivity);
    if (!(std::log(u) < change)) return false;
    above(nodes, {a.node, sum_a}, {b.node, sum_b}, [&](const Climber& c) { nodes.sum[c.node] = c.sum; });
    nodes.sum[a.node] = a.sum = sum_a, nodes.sum[b.node] = b.sum = sum_b;
    a.log = log_a, b.log = log_b, fit = next;
    seen.mu.swap(seen.trial);
    return true;
  }

  void release(double* mu) {
    for (std::size_t i = 0; i < seen.bins.size(); ++i) mu[seen.bins[i]] = seen.mu[i], seen.slot[seen.bins[i]] = -1;
    seen.bins.clear(), seen.counts.clear(), seen.mu.clear();
    for (const Member& m : members) {
      if (m.sum == m.before || nodes.leaf[m.node] == m.node) continue;
      const double factor = m.sum / m.before;
      for (std::int32_t leaf = nodes.leaf[m.node]; leaf < nodes.end[m.node]; ++leaf) nodes.sum[leaf] *= factor;
    }
  }

private:
  // One in proportion to its sum: with another one of any kind, each pair is chosen in proportion to its
  // own, which a transfer within it leaves as it is; and these add up to a multiple of that of all.
  std::size_t bright(Stream& stream) const {
    double total = 0.0;
    for (const Member& m : members) total += m.sum;
    double target = stream.uniform() * total;
    std::size_t i = 0;
    while (i + 1 < members.size() && target >= members[i].sum) target -= members[i++].sum;
    return i;
  }

  Nodes nodes;
  Seen& seen;
  std::vector<Member> members;
  double fit = 0.0; // sum of n log e
};

void require(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

} // namespace

void bind_transfer(py::module_& m) {
  m.def(
      "transfer",
      [](Array<double>& sums, const Array<std::int32_t>& parent, const Array<std::int32_t>& child, const Array<std::int32_t>& leaf,
         const Array<std::int32_t>& end, const Array<double>& strength, const Array<double>& power, const Array<double>& sensitivity,
         const Array<std::int64_t>& tiles, const Array<std::int64_t>& members, const Array<std::int64_t>& chosen, std::int64_t trials,
         const Array<std::int64_t>& rows, const Array<std::int64_t>& start, const Array<std::int64_t>& bins,
         const Array<double>& weights, const Array<double>& counts, Array<double>& expectation, Key key) {
        const py::ssize_t size = sums.size();
        for (const auto* each : {&parent, &leaf, &end}) require(each->size() == size, "one entry for each node is needed");
        require(strength.size() == size && power.size() == size, "one entry for each node is needed");
        require(child.size() == size + 1, "one entry for each node and one more is needed");
        require(counts.size() == expectation.size(), "one expectation for each bin is needed");
        const Nodes nodes{sums.mutable_data(), parent.data(), child.data(), leaf.data(), end.data(), strength.data(), power.data()};
        Seen seen;
        seen.slot.assign(static_cast<std::size_t>(counts.size()), -1);
        Group group(nodes, seen);
        double* const mu = expectation.mutable_data();
        std::int64_t tried = 0, accepted = 0;
        py::gil_scoped_release unlocked;
        for (py::ssize_t g = 0; g < chosen.size(); ++g) {
          const std::int64_t* const tile = tiles.data() + chosen.data()[g];
          group.gather(members.data() + tile[0], members.data() + tile[1], rows.data(), start.data(), bins.data(),
                       weights.data(), sensitivity.data(), counts.data(), mu);
          Stream stream(key, static_cast<std::uint64_t>(g));
          for (std::int64_t t = 0; t < trials; ++t, ++tried) accepted += group.attempt(stream);
          group.release(mu);
        }
        return std::make_pair(tried, accepted);
      },
      py::arg("sums").noconvert(), py::arg("parent").noconvert(), py::arg("child").noconvert(), py::arg("leaf").noconvert(),
      py::arg("end").noconvert(), py::arg("strength").noconvert(), py::arg("power").noconvert(), py::arg("sensitivity").noconvert(),
      py::arg("tiles").noconvert(), py::arg("members").noconvert(), py::arg("chosen").noconvert(), py::arg("trials"), py::arg("rows").noconvert(),
      py::arg("start").noconvert(), py::arg("bins").noconvert(), py::arg("weights").noconvert(), py::arg("counts").noconvert(),
      py::arg("expectation").noconvert(), py::arg("key"));
}
