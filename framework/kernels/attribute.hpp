// How the counts of a bin are divided among the cells that could have made them: a multinomial, exact,
// in a time that the number of counts and not that of the cells decides.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "dispatch.hpp"
#include "random.hpp"

namespace skyfold {

using Size = std::ptrdiff_t;
using Count = std::int64_t;

constexpr Count few = 12;    // counts that look for their cells one by one
constexpr Count most = 3000; // counts above which one binomial for each cell is less work

// What a thread needs room for.
struct Room {
  std::vector<double> blocks, gathered, targets, sums, weights;

  // On a cache line of its own.
  static double* of(std::vector<double>& room, Size size) {
    if (room.size() < static_cast<std::size_t>(size + 8)) room.resize(static_cast<std::size_t>(size + 8));
    return reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(room.data()) + 63) / 64 * 64);
  }
};

// Whether anything can have made counts where so many are expected.
inline bool possible(double expectation) {
  return expectation >= std::numeric_limits<double>::min() && std::isfinite(expectation);
}

// The weight after so many before it. Rounding may leave a target beyond the end: it falls on the last that weighs
// anything.
template <class Weight> SKYFOLD_INLINE Size last_of(Size size, Size before, Weight weight) {
  if (before == size)
    while (before > 1 && !(weight(--before) > 0.0)) {}
  return before;
}

// On which weight a target from 0 up to their sum falls. Counted without a jump, because nobody can
// foresee it.
template <class Weight> SKYFOLD_INLINE Size place(Size size, Weight weight, double target) {
  double sum = 0.0;
  Size before = 0;
  for (Size i = 0; i < size; ++i) {
    sum += weight(i);
    before += sum <= target;
  }
  return last_of(size, before, weight);
}

// The same for targets in ascending order, of weights that begin at `sum`: calls give(i, n) for each
// weight i on which n of them fall.
template <class Weight, class Give>
SKYFOLD_INLINE void place_sorted(Size size, Weight weight, double sum, const double* target, const double* end, Give give) {
  Size last = 0;
  for (Size i = 0; i < size && target < end; ++i) {
    const double w = weight(i);
    if (!(w > 0.0)) continue;
    last = i, sum += w;
    const double* const first = target;
    while (target < end && *target < sum) ++target;
    if (target > first) give(i, target - first);
  }
  if (target < end) give(last, end - target);
}

// A multinomial as a chain of binomials: calls give(i, n) for each weight i on which n counts fall.
template <class Give>
void chain(Size size, const double* weight, double* rest, Count count, Stream& stream, Give give) {
  double sum = 0.0;
  for (Size i = size; i-- > 0;) rest[i] = sum += weight[i] > 0.0 ? weight[i] : 0.0;
  for (Size i = 0; i < size && count > 0; ++i) {
    if (!(weight[i] > 0.0)) continue;
    const Count n = stream.binomial(count, weight[i] / rest[i]); // all of them on the last
    if (n > 0) give(i, n);
    count -= n;
  }
}

// As `divide`, with uniform numbers in order: partial sums of exponential ones, over the sum of one more.
template <class Cells, class Give>
void divide_sorted(const Cells& cells, Size blocks, const double* upto, Count count, Stream& stream, Room& room, Give give) {
  double* const target = Room::of(room.targets, most);
  double sum = 0.0;
  for (Count n = 0; n < count; ++n) target[n] = sum += stream.exponential();
  const double own = upto[blocks - 1], scale = own / (sum + stream.exponential()), top = std::nextafter(own, 0.0);
  for (Count n = 0; n < count; ++n) target[n] = std::min(target[n] * scale, top);
  const double *next = target, *const end = target + count;
  for (Size b = 0; next < end; ++b) {
    const double* const first = next;
    while (next < end && *next < upto[b]) ++next;
    if (next > first)
      place_sorted(cells.size(b), [&](Size i) { return cells.weight(b, i); }, b ? upto[b - 1] : 0.0, first, next,
                   [&](Size i, Count n) { give(b, i, n); });
  }
}

// As `divide`, with a binomial for each cell.
template <class Cells, class Give>
void divide_many(const Cells& cells, Size blocks, Count count, Stream& stream, Room& room, Give give) {
  double* const sums = Room::of(room.sums, 2 * blocks);
  for (Size b = 0; b < blocks; ++b) {
    sums[b] = 0.0;
    for (Size i = 0; i < cells.size(b); ++i) sums[b] += cells.weight(b, i);
  }
  chain(blocks, sums, sums + blocks, count, stream, [&](Size b, Count many) {
    const Size size = cells.size(b);
    double* const weight = Room::of(room.weights, 2 * size);
    for (Size i = 0; i < size; ++i) weight[i] = cells.weight(b, i);
    chain(size, weight, weight + size, many, stream, [&](Size i, Count n) { give(b, i, n); });
  });
}

// Calls give(block, i, n) for each cell on which n counts fall, or seek(block, target) where one falls on the cell of
// a block that the target does, and returns how many fall on others.
// Cells come in blocks, cells.size(block) each, of weights cells.weight(block, i), none negative, which
// add up to upto[block] with all blocks before; these or the others weigh something.
template <class Cells, class Give, class Seek>
SKYFOLD_INLINE Count divide(const Cells& cells, Size blocks, const double* upto, double others, Count count,
                            Stream& stream, Room& room, Give give, Seek seek) {
  const double own = upto[blocks - 1];
  Count left = 0;
  if (count > few && others > 0.0) {
    left = count - stream.binomial(count, own / (own + others));
    count -= left;
    others = 0.0;
  }
  if (count <= few) {
    for (Count n = 0; n < count; ++n) {
      double target = stream.uniform() * (own + others);
      if (target >= own) {
        if (others > 0.0) {
          ++left;
          continue;
        }
        target = std::nextafter(own, 0.0);
      }
      Size b = 0;
#pragma omp simd reduction(+ : b)
      for (Size i = 0; i < blocks; ++i) b += upto[i] <= target;
      seek(b, b ? target - upto[b - 1] : target);
    }
  } else if (count <= most) {
    divide_sorted(cells, blocks, upto, count, stream, room, give);
  } else {
    divide_many(cells, blocks, count, stream, room, give);
  }
  return left;
}

// The same, every cell sought at once.
template <class Cells, class Give>
SKYFOLD_INLINE Count divide(const Cells& cells, Size blocks, const double* upto, double others, Count count,
                            Stream& stream, Room& room, Give give) {
  return divide(cells, blocks, upto, others, count, stream, room, give, [&](Size b, double target) {
    give(b, place(cells.size(b), [&](Size i) { return cells.weight(b, i); }, target), 1);
  });
}

// Adds counts where other threads may add, too.
SKYFOLD_INLINE void add(Count& to, Count n, bool shared) {
  if (shared) {
#pragma omp atomic
    to += n;
  } else {
    to += n;
  }
}

} // namespace skyfold
