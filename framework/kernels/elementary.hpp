// Elementary functions without branches, for loops over vectors.
#pragma once
#include <cstdint>
#include <cstring>

#include "dispatch.hpp"

// x = 2^k m with m in [sqrt(1/2), sqrt(2)), for normal positive x.
template <class T> struct Parts {
  T k, m;
};

// The exponent becomes a number by writing it into the mantissa of 2^52: AVX2 converts no integers.
SKYFOLD_INLINE Parts<double> take_apart(double x) {
  constexpr std::int64_t root_half = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000;
  std::int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits += one - root_half;
  const std::int64_t k_bits = (bits >> 52) | 0x4330000000000000;
  const std::int64_t m_bits = (bits & 0x000fffffffffffff) + root_half;
  Parts<double> p;
  std::memcpy(&p.k, &k_bits, sizeof p.k);
  std::memcpy(&p.m, &m_bits, sizeof p.m);
  p.k -= 4503599627370496.0 + 1023.0;
  return p;
}

SKYFOLD_INLINE Parts<float> take_apart(float x) {
  constexpr std::int32_t root_half = 0x3f3504f3, one = 0x3f800000;
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits += one - root_half;
  const std::int32_t k_bits = (bits >> 23) | 0x4b000000, m_bits = (bits & 0x007fffff) + root_half;
  Parts<float> p;
  std::memcpy(&p.k, &k_bits, sizeof p.k);
  std::memcpy(&p.m, &m_bits, sizeof p.m);
  p.k -= 8388608.0f + 127.0f;
  return p;
}

// k log 2 + 2 artanh s, which is log x where s = (m - 1) / (m + 1), to a relative 1e-15; the minimax
// polynomial of 2 (artanh(s)/s - 1) / s^2 is within 1e-17 of it.
SKYFOLD_INLINE double put_together(double k, double s) {
  const double z = s * s;
  double p = 0.1461658542448862199;
  p = p * z + 0.1533171061821077157;
  p = p * z + 0.1818288945574694602;
  p = p * z + 0.2222221113027985902;
  p = p * z + 0.2857142862600326874;
  p = p * z + 0.3999999999989944324;
  p = p * z + 0.6666666666666669688;
  return k * 0.69314718055994530942 + s * (p * z + 2.0);
}

// log x for normal positive x.
SKYFOLD_INLINE double log_of(double x) {
  const auto [k, m] = take_apart(x);
  return put_together(k, (m - 1.0) / (m + 1.0));
}

// exp x for x below 700; below -700 it is that of -700. The sum with 1.5 2^52 holds x / log 2 as an integer.
SKYFOLD_INLINE double exp_of(double x) {
  constexpr double magic = 6755399441055744.0;
  x = x < -700.0 ? -700.0 : x;
  const double t = x * 1.4426950408889634 + magic, k = t - magic;
  const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double p = 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  std::uint64_t t_bits, bits;
  std::memcpy(&t_bits, &t, sizeof t);
  std::memcpy(&bits, &p, sizeof p);
  bits += t_bits << 52;
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

// log Gamma(z) for z > 0, by Stirling's series at z + 8.
SKYFOLD_INLINE double log_gamma_of(double z) {
  const double product = z * (z + 1) * (z + 2) * (z + 3) * (z + 4) * (z + 5) * (z + 6) * (z + 7);
  const double y = z + 8, r = 1 / y, q = r * r;
  const double series =
      r * (1.0 / 12 - q * (1.0 / 360 - q * (1.0 / 1260 - q * (1.0 / 1680 - q * (1.0 / 1188 - q * (691.0 / 360360))))));
  return (y - 0.5) * log_of(y) - y + 0.91893853320467274178 + series - log_of(product);
}

// The first and second derivative of log Gamma(z).
struct Slopes {
  double first, second;
};
SKYFOLD_INLINE Slopes slopes_of_log_gamma(double z) {
  double p = z, p1 = 1.0, p2 = 0.0; // z (z + 1) ... (z + 7) and its derivatives
  for (int i = 1; i < 8; ++i) {
    p2 = p2 * (z + i) + 2 * p1;
    p1 = p1 * (z + i) + p;
    p *= z + i;
  }
  const double y = z + 8, r = 1 / y, q = r * r, ratio = p1 / p;
  const double digamma = log_of(y) - 0.5 * r - q * (1.0 / 12 - q * (1.0 / 120 - q * (1.0 / 252 - q * (1.0 / 240))));
  const double trigamma = r + 0.5 * q + r * q * (1.0 / 6 - q * (1.0 / 30 - q * (1.0 / 42 - q * (1.0 / 30))));
  return {digamma - ratio, trigamma + (ratio * ratio - p2 / p)};
}
