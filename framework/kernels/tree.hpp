// A tree over the pixels of one energy: which nodes there are, and how strongly each split is expected
// to follow the base measure.
#pragma once
#include <cstdint>
#include <vector>

namespace skyfold {

using Size = std::int64_t;

// Weights of nodes, alpha times which is a Dirichlet parameter; 0 where there is nothing to split.
struct Weights {
  double same = 1.0;               // of all nodes, where each is empty
  std::vector<double> each;        // of every node
  std::vector<double> kinds;       // the distinct ones, where they are few
  std::vector<std::uint8_t> kind;  // which of them, of every node

  double of(Size node) const { return each.empty() ? same : each[node]; }
};

// How the nodes of one level split into those of the level below.
struct Split {
  Size parents = 0, children = 0;
  int nominal = 4;                 // of a parent that has all its children
  std::vector<std::int32_t> first; // child of every parent, and one more; empty where all have all
  Weights parent, child;

  Size begin(Size p) const { return first.empty() ? p * nominal : first[p]; }
};

struct Tree {
  std::vector<std::int32_t> leaves; // pixels, in the order of the tree
  std::vector<std::int32_t> places; // of the leaves, in the frame; empty where all places are leaves
  std::vector<Split> splits;        // from the pixels up

  std::int32_t place(Size leaf) const { return places.empty() ? static_cast<std::int32_t>(leaf) : places[leaf]; }

  Size nodes() const {
    Size sum = 1;
    for (const Split& split : splits) sum += split.children;
    return sum;
  }
};

// What a tree is made of: pixels of the frame in the order of the tree, -1 where there is none; into how
// many children the nodes split, from the pixels up; and by pixel, where they are not 1 everywhere, the
// base measure (0: not in the tree) and the strength.
struct Plan {
  const std::int32_t* order;
  Size places;
  std::vector<int> branching;
  const double *measure, *strength;
  std::vector<double> factors; // of the strengths, by level
};

Tree plant(const Plan& plan);

// The pixels of an image in the order of the quad-tree of a square frame, -1 where there is none; the frame begins at
// the pixel (row, column) and goes round.
void quad_order(Size ny, Size nx, Size side, Size row, Size column, std::int32_t* to);

} // namespace skyfold
