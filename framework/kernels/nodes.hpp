// The nodes of a tree in one row, its leaves first, level by level: how they hang together.
#pragma once
#include "tree.hpp"

namespace skyfold {

// Of each node its parent, its first child (and one more), its first leaf, and the leaf after its last.
struct Links {
  std::vector<std::int32_t> parent, child, leaf, end;
};

Links links(const Tree& tree);

// The Dirichlet parameter of each node, and the same minus those of its children.
void parameters(const Tree& tree, const double* alpha, double* own, double* excess);

// Nodes of a level in tiles of a few neighbours: where those of each tile begin, and one more; those alone in their
// tile are left out.
struct Tiling {
  std::vector<std::int64_t> start, nodes;
};

// Tiles of two nodes each way, which the shift, a bit for each axis, may put across their parents. Base pixels of a
// sphere have no others beside them: they stay with their parent.
Tiling tiles(const Tree& tree, Size level, int shift);

} // namespace skyfold
