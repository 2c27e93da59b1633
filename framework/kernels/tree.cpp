// Trees: built from a frame of pixels.
#include "tree.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace skyfold {

namespace {

constexpr std::size_t few = 64;

void sort_out(Weights& weights) {
  for (const double w : weights.each) {
    const auto at = std::find(weights.kinds.begin(), weights.kinds.end(), w);
    if (at == weights.kinds.end() && weights.kinds.size() == few) {
      weights.kinds.clear(), weights.kind.clear();
      return;
    }
    weights.kind.push_back(static_cast<std::uint8_t>(at - weights.kinds.begin()));
    if (at == weights.kinds.end()) weights.kinds.push_back(w);
  }
  if (weights.kinds.size() == 1) {
    weights.same = weights.kinds[0];
    weights.each.clear(), weights.kinds.clear(), weights.kind.clear();
  }
}

// All places of the frame are pixels of equal measure and strength.
Tree plant_full(const Plan& plan) {
  Tree tree;
  tree.leaves.assign(plan.order, plan.order + plan.places);
  Size nodes = plan.places;
  for (std::size_t level = 0; level < plan.branching.size(); ++level) {
    Split split;
    split.nominal = plan.branching[level];
    split.children = nodes, split.parents = nodes /= split.nominal;
    split.child.same = plan.factors[level], split.parent.same = plan.factors[level] * split.nominal;
    tree.splits.push_back(std::move(split));
  }
  return tree;
}

} // namespace

Tree plant(const Plan& plan) {
  if (!plan.measure && !plan.strength && *std::min_element(plan.order, plan.order + plan.places) >= 0)
    return plant_full(plan);
  Tree tree;
  std::vector<Size> place;
  std::vector<double> mass, strength; // of the nodes of a level; the strength times the mass
  for (Size at = 0; at < plan.places; ++at) {
    const std::int32_t pixel = plan.order[at];
    const double m = pixel < 0 ? 0.0 : plan.measure ? plan.measure[pixel] : 1.0;
    if (!(m > 0)) continue;
    tree.leaves.push_back(pixel), place.push_back(at);
    mass.push_back(m), strength.push_back(plan.strength ? m * plan.strength[pixel] : m);
  }
  if (place.empty()) throw std::invalid_argument("no pixel has a positive base measure");
  if (static_cast<Size>(place.size()) < plan.places) tree.places.assign(place.begin(), place.end());
  for (std::size_t level = 0; level < plan.branching.size(); ++level) {
    Split split;
    split.nominal = plan.branching[level], split.children = static_cast<Size>(place.size());
    split.child.each.resize(place.size());
    std::vector<Size> place_above;
    std::vector<double> mass_above, strength_above;
    for (std::size_t begin = 0, end; begin < place.size(); begin = end) {
      double m = 0.0, s = 0.0;
      for (end = begin; end < place.size() && place[end] / split.nominal == place[begin] / split.nominal; ++end)
        m += mass[end], s += strength[end];
      const double above = end - begin > 1 ? plan.factors[level] * split.nominal * (s / m) : 0.0;
      for (std::size_t c = begin; c < end; ++c) split.child.each[c] = above * mass[c] / m;
      split.first.push_back(static_cast<std::int32_t>(begin)), split.parent.each.push_back(above);
      place_above.push_back(place[begin] / split.nominal), mass_above.push_back(m), strength_above.push_back(s);
    }
    split.first.push_back(static_cast<std::int32_t>(place.size()));
    split.parents = static_cast<Size>(place_above.size());
    if (split.children == split.parents * split.nominal) split.first.clear();
    sort_out(split.child), sort_out(split.parent);
    tree.splits.push_back(std::move(split));
    place.swap(place_above), mass.swap(mass_above), strength.swap(strength_above);
  }
  return tree;
}

void quad_order(Size ny, Size nx, Size side, Size row, Size column, std::int32_t* to) {
  const auto bits = [](Size place) { // every other bit
    Size index = 0;
    for (int bit = 0; place >> (2 * bit); ++bit) index |= (place >> (2 * bit) & 1) << bit;
    return index;
  };
  // eight bits at a time: the low half of the order is a table, the high half the place of its block
  const Size inner = std::min<Size>(side, 16);
  std::vector<std::pair<Size, Size>> inside;
  std::vector<std::int32_t> offset;
  for (Size place = 0; place < inner * inner; ++place) {
    inside.emplace_back(bits(place >> 1), bits(place));
    offset.push_back(static_cast<std::int32_t>(inside.back().first * nx + inside.back().second));
  }
  for (Size block = 0; block < side * side / (inner * inner); ++block) {
    const Size y0 = (bits(block >> 1) * inner + row) & (side - 1), x0 = (bits(block) * inner + column) & (side - 1);
    if (y0 + inner <= ny && x0 + inner <= nx) {
      const auto first = static_cast<std::int32_t>(y0 * nx + x0);
      to = std::transform(offset.begin(), offset.end(), to, [=](std::int32_t by) { return first + by; });
      continue;
    }
    for (const auto& [dy, dx] : inside) {
      const Size y = (y0 + dy) & (side - 1), x = (x0 + dx) & (side - 1);
      *to++ = y < ny && x < nx ? static_cast<std::int32_t>(y * nx + x) : -1;
    }
  }
}

} // namespace skyfold
