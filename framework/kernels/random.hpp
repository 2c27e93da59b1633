// Random numbers without global state: a counter-based generator, a fast one that it seeds, and draws.
//
// A kernel makes one Stream for each of its items (a bin, a block of nodes) from the key of the call
// and the number of the item: its results do not depend on the order of the items, nor on threads.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace skyfold {

using Key = std::array<std::uint64_t, 2>;
using Block = std::array<std::uint64_t, 4>;

// Philox4x64-10 (Salmon et al. 2011, SC11).
inline Block philox(Block counter, Key key) {
  __extension__ using Wide = unsigned __int128;
  for (int round = 0; round < 10; ++round) {
    const Wide a = static_cast<Wide>(0xd2e7470ee14c6c93u) * counter[0];
    const Wide b = static_cast<Wide>(0xca5a826395121157u) * counter[2];
    counter = {static_cast<std::uint64_t>(b >> 64) ^ counter[1] ^ key[0], static_cast<std::uint64_t>(b),
               static_cast<std::uint64_t>(a >> 64) ^ counter[3] ^ key[1], static_cast<std::uint64_t>(a)};
    key[0] += 0x9e3779b97f4a7c15u, key[1] += 0xbb67ae8584caa73bu;
  }
  return counter;
}

// The 256 layers of equal area of a ziggurat (Marsaglia & Tsang 2000, J. Stat. Softw. 5, 8): the
// half-widths x of the layers, from the bottom one, which has the tail, to the top, and the density f there.
struct Ziggurat {
  double x[257], f[257];

  template <class Density, class Inverse>
  Ziggurat(double edge, double area, Density density, Inverse inverse) {
    x[0] = area / density(edge), x[1] = edge;
    for (int i = 2; i < 256; ++i) x[i] = inverse(area / x[i - 1] + density(x[i - 1]));
    x[256] = 0.0;
    for (int i = 0; i < 257; ++i) f[i] = density(x[i]);
  }
};

constexpr double normal_edge = 3.6541528853610088, exponential_edge = 7.6971174701310497;

inline const Ziggurat normal_layers(
    normal_edge,
    normal_edge * std::exp(-0.5 * normal_edge * normal_edge) + 1.2533141373155003 * std::erfc(normal_edge / std::sqrt(2.0)),
    [](double x) { return std::exp(-0.5 * x * x); }, [](double f) { return std::sqrt(-2.0 * std::log(f)); });
inline const Ziggurat exponential_layers(
    exponential_edge, (exponential_edge + 1.0) * std::exp(-exponential_edge), [](double x) { return std::exp(-x); },
    [](double f) { return -std::log(f); });

// log k! - [(k + 1/2) log k - k + log(2 pi) / 2] for k > 0.
inline double stirling_error(double k) {
  static constexpr double small[] = {0.0,
                                     0.08106146679532726,
                                     0.04134069595540929,
                                     0.02767792568499834,
                                     0.02079067210376509,
                                     0.01664469118982119,
                                     0.01387612882307075,
                                     0.01189670994589177,
                                     0.01041126526197210,
                                     0.009255462182712733};
  if (k < 10) return small[static_cast<int>(k)];
  const double z = 1.0 / (k * k);
  return (1.0 / 12 - z * (1.0 / 360 - z * (1.0 / 1260 - z * (1.0 / 1680 - z / 1188)))) / k;
}

// k log(k / mean) - k + mean, without the loss of digits of its terms (Loader 2000).
inline double deviance(double k, double mean) {
  if (k == 0) return mean;
  const double t = (mean - k) / k;
  return k * (t - std::log1p(t));
}

// xoshiro256++ (Blackman & Vigna 2021), and what is drawn with it.
class Stream {
public:
  Stream(Key key, std::uint64_t item, std::uint64_t purpose = 0) : s(philox({item, purpose, 0, 0}, key)) {}

  std::uint64_t bits() {
    const std::uint64_t result = turn(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3];
    s[2] ^= t, s[3] = turn(s[3], 45);
    return result;
  }

  // In (0, 1): neither 0 nor 1.
  double uniform() { return (static_cast<double>(bits() >> 12) + 0.5) * 0x1p-52; }

  // An integer from 0 to limit - 1, for a limit below 2^32.
  std::uint64_t below(std::uint64_t limit) { return ((bits() >> 32) * limit) >> 32; }

  double normal() {
    for (;;) {
      const std::uint64_t b = bits();
      const int i = b & 255;
      const double x = static_cast<double>(b >> 11) * 0x1p-53 * normal_layers.x[i];
      if (x < normal_layers.x[i + 1]) return b & 256 ? x : -x;
      if (i == 0) {
        const double tail = normal_tail();
        return b & 256 ? tail : -tail;
      }
      const double *f = normal_layers.f + i, y = f[0] + uniform() * (f[1] - f[0]);
      if (y < std::exp(-0.5 * x * x)) return b & 256 ? x : -x;
    }
  }

  double exponential() {
    double above = 0.0;
    for (;;) {
      const std::uint64_t b = bits();
      const int i = b & 255;
      const double x = static_cast<double>(b >> 11) * 0x1p-53 * exponential_layers.x[i];
      if (x < exponential_layers.x[i + 1]) return above + x;
      if (i == 0) { // beyond the edge it looks as it does from zero
        above += exponential_edge;
        continue;
      }
      const double *f = exponential_layers.f + i, y = f[0] + uniform() * (f[1] - f[0]);
      if (y < std::exp(-x)) return above + x;
    }
  }

  // Of scale 1. For shapes of about 0.01 and less it may be zero; see log_gamma.
  double gamma(double shape) {
    return shape < 1 ? gamma(shape + 1) * std::exp(-exponential() / shape) : gamma_above_one(shape);
  }

  // The logarithm of a gamma variable, for any shape: that of shape a is one of a + 1 times U^(1/a).
  double log_gamma(double shape) {
    return shape < 1 ? std::log(gamma_above_one(shape + 1)) - exponential() / shape : std::log(gamma_above_one(shape));
  }

  std::int64_t poisson(double mean) {
    if (!(mean > 0)) return 0;
    return mean < 10 ? few_poisson(mean) : many_poisson(mean);
  }

  // Successes of n trials.
  std::int64_t binomial(std::int64_t n, double p) {
    if (n <= 0 || !(p > 0)) return 0;
    if (p >= 1) return n;
    if (p > 0.5) return n - binomial(n, 1 - p);
    return static_cast<double>(n) * p < 10 ? few_binomial(n, p) : many_binomial(n, p);
  }

private:
  Block s;

  static std::uint64_t turn(std::uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }

  double normal_tail() {
    for (;;) {
      const double x = exponential() / normal_edge;
      if (2.0 * exponential() > x * x) return normal_edge + x;
    }
  }

  // Marsaglia & Tsang (2000, ACM Trans. Math. Softw. 26, 363).
  double gamma_above_one(double shape) {
    const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      const double x = normal(), root = 1.0 + c * x;
      if (root <= 0) continue;
      const double v = root * root * root, u = uniform(), square = x * x;
      if (u < 1.0 - 0.0331 * square * square) return d * v;
      if (std::log(u) < 0.5 * square + d * (1.0 - v + std::log(v))) return d * v;
    }
  }

  // Inversion, from zero up. The sum may miss 1 by rounding: then once more.
  std::int64_t few_poisson(double mean) {
    for (;;) {
      double u = uniform();
      if (u < 1.0 - mean) return 0; // spares the exponential function, which is larger
      double p = std::exp(-mean);
      for (std::int64_t k = 0; k < 200; ++k) {
        if (u < p) return k;
        u -= p;
        p *= mean / static_cast<double>(k + 1);
      }
    }
  }

  std::int64_t few_binomial(std::int64_t n, double p) {
    const double odds = p / (1 - p), none = std::exp(static_cast<double>(n) * std::log1p(-p));
    const std::int64_t last = std::min<std::int64_t>(n, 200);
    for (;;) {
      double u = uniform(), q = none;
      for (std::int64_t k = 0; k <= last; ++k) {
        if (u < q) return k;
        u -= q;
        q *= odds * static_cast<double>(n - k) / static_cast<double>(k + 1);
      }
    }
  }

  // Transformed rejection, PTRS and BTRS of Hoermann (1993, Insurance Math. Econ. 12, 39; J. Stat.
  // Comput. Simul. 46, 101), with probabilities as Loader (2000) computes them.
  std::int64_t many_poisson(double mean) {
    const double b = 0.931 + 2.53 * std::sqrt(mean), a = -0.059 + 0.02483 * b;
    const double scale = 1.1239 + 1.1328 / (b - 3.4), sure = 0.9277 - 3.6224 / (b - 2);
    for (;;) {
      const double u = uniform() - 0.5, v = uniform(), us = 0.5 - std::abs(u);
      const double k = std::floor((2 * a / us + b) * u + mean + 0.43);
      if (us >= 0.07 && v <= sure) return static_cast<std::int64_t>(k);
      if (k < 0 || (us < 0.013 && v > us)) continue;
      if (std::log(v * scale / (a / (us * us) + b)) <= log_poisson(k, mean)) return static_cast<std::int64_t>(k);
    }
  }

  std::int64_t many_binomial(std::int64_t trials, double p) {
    const double n = static_cast<double>(trials), deviation = std::sqrt(n * p * (1 - p));
    const double b = 1.15 + 2.53 * deviation, a = -0.0873 + 0.0248 * b + 0.01 * p;
    const double scale = (2.83 + 5.1 / b) * deviation, sure = 0.92 - 4.2 / b;
    const double top = log_binomial(std::floor((n + 1) * p), n, p);
    for (;;) {
      const double u = uniform() - 0.5, v = uniform(), us = 0.5 - std::abs(u);
      const double k = std::floor((2 * a / us + b) * u + n * p + 0.5);
      if (us >= 0.07 && v <= sure) return static_cast<std::int64_t>(k);
      if (k < 0 || k > n) continue;
      if (std::log(v * scale / (a / (us * us) + b)) <= log_binomial(k, n, p) - top) return static_cast<std::int64_t>(k);
    }
  }

  static double log_poisson(double k, double mean) {
    if (k == 0) return -mean;
    return -stirling_error(k) - deviance(k, mean) - 0.5 * std::log(2 * pi * k);
  }

  static double log_binomial(double k, double n, double p) {
    if (k == 0) return n * std::log1p(-p);
    if (k == n) return n * std::log(p);
    return stirling_error(n) - stirling_error(k) - stirling_error(n - k) - deviance(k, n * p) -
           deviance(n - k, n * (1 - p)) + 0.5 * std::log(n / (2 * pi * k * (n - k)));
  }

  static constexpr double pi = 3.14159265358979323846;
};

} // namespace skyfold
