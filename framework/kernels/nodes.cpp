#include "nodes.hpp"

#include <algorithm>

namespace skyfold {

namespace {

// Every other bit.
std::int64_t bits(std::int64_t number) {
  std::int64_t found = 0;
  for (int bit = 0; number >> (2 * bit); ++bit) found |= (number >> (2 * bit) & 1) << bit;
  return found;
}

// The number of the node of a level among all that the frame has there, of each that the tree has.
std::vector<std::int64_t> in_frame(const Tree& tree, Size level) {
  std::vector<std::int64_t> found(static_cast<std::size_t>(tree.splits[level].children));
  Size under = 1; // places below a node
  for (Size l = 0; l < level; ++l) under *= tree.splits[l].nominal;
  for (Size i = 0; i < tree.splits[level].children; ++i) {
    Size leaf = i;
    for (Size l = level; l-- > 0;) leaf = tree.splits[l].begin(leaf);
    found[i] = tree.place(leaf) / under;
  }
  return found;
}

// The nodes in the order of their tiles, those alone left out.
Tiling in_order(const std::vector<std::int64_t>& tile, std::int64_t tiles, Size first) {
  std::vector<std::int64_t> size(tiles), to(tiles);
  for (const std::int64_t t : tile) ++size[t];
  Tiling found{{0}, {}};
  for (std::int64_t t = 0; t < tiles; ++t) {
    to[t] = found.start.back();
    if (size[t] > 1) found.start.push_back(found.start.back() + size[t]);
  }
  found.nodes.resize(found.start.back());
  for (std::size_t i = 0; i < tile.size(); ++i)
    if (size[tile[i]] > 1) found.nodes[to[tile[i]]++] = first + static_cast<Size>(i);
  return found;
}

} // namespace

Links links(const Tree& tree) {
  Links found;
  const Size nodes = tree.nodes();
  for (auto* each : {&found.parent, &found.child, &found.leaf, &found.end}) each->reserve(nodes + 1);
  const auto add = [](std::vector<std::int32_t>& to, Size number) { to.push_back(static_cast<std::int32_t>(number)); };
  for (Size i = 0; i < static_cast<Size>(tree.leaves.size()); ++i)
    add(found.child, 0), add(found.leaf, i), add(found.end, i + 1);
  Size below = 0;
  for (const Split& split : tree.splits) {
    const Size own = below + split.children;
    for (Size p = 0; p < split.parents; ++p) {
      const Size first = below + split.begin(p), last = below + split.begin(p + 1);
      for (Size c = first; c < last; ++c) add(found.parent, own + p);
      add(found.child, first), add(found.leaf, found.leaf[first]), add(found.end, found.end[last - 1]);
    }
    below = own;
  }
  add(found.parent, below), add(found.child, below);
  return found;
}

void parameters(const Tree& tree, const double* alpha, double* own, double* excess) {
  std::fill_n(excess, tree.leaves.size(), 0.0);
  for (std::size_t level = 0; level < tree.splits.size(); ++level) {
    const Split& split = tree.splits[level];
    for (Size c = 0; c < split.children; ++c) {
      const double mine = alpha[level] * split.child.of(c);
      *excess++ += mine, *own++ = mine;
    }
    for (Size p = 0; p < split.parents; ++p) excess[p] = -alpha[level] * split.parent.of(p);
  }
  *own = 0.0;
}

Tiling tiles(const Tree& tree, Size level, int shift) {
  const Split& split = tree.splits[level];
  Size first = 0, along = 1; // nodes along a side of what is divided
  for (Size l = 0; l < level; ++l) first += tree.splits[l].children;
  const bool line = tree.splits[0].nominal == 2;
  for (std::size_t l = level; l < tree.splits.size(); ++l)
    if (tree.splits[l].nominal <= 4) along *= 2;
  const Size faces = tree.splits.back().nominal > 4 ? tree.splits.back().nominal : 1, across = along / 2 + 1;
  std::vector<std::int64_t> tile(static_cast<std::size_t>(split.children));
  if (!shift) {
    for (Size p = 0; p < split.parents; ++p)
      for (Size c = split.begin(p); c < split.begin(p + 1); ++c) tile[c] = p;
    return in_order(tile, split.parents, first);
  }
  const Size area = line ? along : along * along;
  const std::vector<std::int64_t> number = in_frame(tree, level);
  for (std::size_t i = 0; i < tile.size(); ++i) {
    const std::int64_t face = number[i] / area, inside = number[i] % area;
    const std::int64_t y = line ? 0 : (bits(inside >> 1) + (shift & 1)) / 2;
    const std::int64_t x = line ? (inside + (shift & 1)) / 2 : (bits(inside) + (shift >> 1 & 1)) / 2;
    tile[i] = (face * across + y) * across + x;
  }
  Tiling found = in_order(tile, faces * across * across, first);
  return found.nodes.empty() ? tiles(tree, level, 0) : found;
}

} // namespace skyfold
