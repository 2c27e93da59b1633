// Values of the nodes of a tree.
#pragma once
#include <vector>

#include "memory.hpp"
#include "tree.hpp"

namespace skyfold {

// Values of all nodes, level by level: leaves in the order of the tree first, the root last.
template <class T> struct Levels {
  Memory memory;
  std::vector<T*> at;

  explicit Levels(const Tree& tree) : memory(tree.nodes() * sizeof(T)), at{static_cast<T*>(memory.data())} {
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

} // namespace skyfold
