// Many random numbers at a time: eight generators side by side, and gamma variables from them.
#pragma once
#include "elementary.hpp"
#include "random.hpp"

namespace skyfold {

class Lanes {
public:
  static constexpr std::int64_t width = 8, batch = 256; // its arrays fit the first cache

  Lanes(Key key, std::uint64_t item) {
    for (int lane = 0; lane < width; ++lane) {
      const Block block = philox({item, 2, static_cast<std::uint64_t>(lane), 0}, key);
      for (int word = 0; word < 4; ++word) s[word][lane] = block[word];
    }
  }

  // Uniform numbers in (0, 1); as many as fill whole rows of lanes.
  SKYFOLD_INLINE void uniform(double* to, std::int64_t size) {
    std::uint64_t a[width], b[width], c[width], d[width];
    std::memcpy(a, s[0], sizeof a), std::memcpy(b, s[1], sizeof b);
    std::memcpy(c, s[2], sizeof c), std::memcpy(d, s[3], sizeof d);
    for (std::int64_t i = 0; i < size; i += width) {
#pragma omp simd
      for (int j = 0; j < width; ++j) {
        const std::uint64_t sum = a[j] + d[j], bits = ((sum << 23) | (sum >> 41)) + a[j], t = b[j] << 17;
        c[j] ^= a[j], d[j] ^= b[j], b[j] ^= c[j], a[j] ^= d[j];
        c[j] ^= t, d[j] = (d[j] << 45) | (d[j] >> 19);
        const std::uint64_t unit = (bits >> 12) | 0x3ff0000000000000; // in [1, 2)
        double u;
        std::memcpy(&u, &unit, sizeof u);
        to[i + j] = u - (1.0 - 0x1p-53);
      }
    }
    std::memcpy(s[0], a, sizeof a), std::memcpy(s[1], b, sizeof b);
    std::memcpy(s[2], c, sizeof c), std::memcpy(s[3], d, sizeof d);
  }

  // Normal numbers by Box & Muller (1958), an even number of rows of lanes.
  SKYFOLD_INLINE void normal(double* to, std::int64_t size) {
    uniform(to, size);
    const std::int64_t half = size / 2;
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      const double r = std::sqrt(-2.0 * log_of(to[i]));
      // sine and cosine of a quarter of the angle, then twice the double angle
      const double quarter = (to[half + i] - 0.5) * 1.5707963267948966, q = quarter * quarter;
      double sine = 1.0 / 6227020800;
      sine = sine * q - 1.0 / 39916800;
      sine = sine * q + 1.0 / 362880;
      sine = sine * q - 1.0 / 5040;
      sine = sine * q + 1.0 / 120;
      sine = sine * q - 1.0 / 6;
      sine = (sine * q + 1.0) * quarter;
      double less = 1.0 / 479001600; // 1 - cosine, times 2 / q
      less = 1.0 / 1814400 - less * 2 * q;
      less = 1.0 / 20160 - less * q;
      less = 1.0 / 360 - less * q;
      less = 1.0 / 12 - less * q;
      less = 1.0 - less * q;
      const double cosine = 1.0 - 0.5 * q * less;
      const double sine2 = 2 * sine * cosine, cosine2 = 1.0 - 2 * sine * sine;
      to[i] = r * (2 * sine2 * cosine2), to[half + i] = r * (1.0 - 2 * sine2 * sine2);
    }
  }

  // Gamma variables of scale 1 and their logarithms, for positive shapes: the former may underflow, the
  // latter are right. Marsaglia & Tsang (2000), for shapes below 1 as G(a) = G(a + 1) U^(1/a).
  // At most `batch` of them.
  SKYFOLD_INLINE void gamma(const double* shape, std::int64_t size, double* g, double* log_g) {
    alignas(64) double d[batch], x[batch], u[batch], v[batch], sure[batch];
    std::int32_t open[batch];
    normal(x, whole(size)), uniform(u, whole(size));
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      d[i] = shape[i] + (shape[i] < 1 ? 1.0 : 0.0) - 1.0 / 3;
      const double root = 1.0 + x[i] / std::sqrt(9 * d[i]), square = x[i] * x[i];
      v[i] = root > 0 ? root * root * root : 0.0;
      sure[i] = root > 0 ? 1.0 - 0.0331 * square * square - u[i] : -1.0;
    }
    std::int64_t left = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      open[left] = static_cast<std::int32_t>(i);
      left += sure[i] <= 0;
    }
    settle(d, x, u, v, open, left);
    uniform(u, whole(size));
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      const double above = d[i] * v[i], power = shape[i] < 1 ? log_of(u[i]) / shape[i] : 0.0;
      g[i] = power < -700 ? 0.0 : above * exp_of(power), log_g[i] = log_of(above) + power;
    }
  }

private:
  alignas(64) std::uint64_t s[4][width];

  static std::int64_t whole(std::int64_t size) { return (size + 2 * width - 1) / (2 * width) * (2 * width); }

  // Those about which the quick test was not sure: the exact test, then others in place of those refused.
  SKYFOLD_INLINE void settle(const double* d, const double* x, const double* u, double* v, std::int32_t* open,
                             std::int64_t left) {
    alignas(64) double e[batch], y[batch], w[batch], t[batch], excess[batch];
    for (std::int64_t k = 0; k < left; ++k) y[k] = x[open[k]], w[k] = u[open[k]];
    while (left > 0) {
      for (std::int64_t k = 0; k < left; ++k) e[k] = d[open[k]];
#pragma omp simd
      for (std::int64_t k = 0; k < left; ++k) {
        const double root = 1.0 + y[k] / std::sqrt(9 * e[k]), cube = root > 0 ? root * root * root : 1e-300;
        t[k] = cube;
        excess[k] = log_of(w[k]) - 0.5 * y[k] * y[k] - e[k] * (1.0 - cube + log_of(cube));
        excess[k] = root > 0 ? excess[k] : 1.0;
      }
      std::int64_t refused = 0;
      for (std::int64_t k = 0; k < left; ++k) {
        v[open[k]] = t[k];
        open[refused] = open[k];
        refused += excess[k] >= 0;
      }
      left = refused;
      normal(y, whole(left)), uniform(w, whole(left));
    }
  }
};

} // namespace skyfold
