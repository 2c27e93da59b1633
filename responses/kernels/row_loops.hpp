// Products of rows, written once and compiled twice by rows.cpp: for any processor, and for those with
// AVX-512, where SKYFOLD_AVX512 is defined. No include guard, no includes: it lives in a namespace of
// rows.cpp.

#ifdef SKYFOLD_AVX512
// Eight numbers as doubles. Left alone, GCC 12 takes vectors apart before it widens them; the masks
// keep it from warning of registers that need no value.
SKYFOLD_INLINE __m512d widen(const float* p) { return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p)); }
SKYFOLD_INLINE __m512d widen(const double* p) { return _mm512_loadu_pd(p); }
SKYFOLD_INLINE __m512d widen(const std::uint16_t* p) {
  return _mm512_maskz_cvtepi32_pd(0xff, _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

SKYFOLD_INLINE double sum_of_lanes(__m512d v) {
  double lane[8];
  _mm512_storeu_pd(lane, v);
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

// out[k] = sum over j of many[k][j] one[j].
template <int count, class T>
SKYFOLD_INLINE void dots(const T* const* many, const double* one, Size width, double* out) {
  __m512d sum[count];
  for (int k = 0; k < count; ++k) sum[k] = _mm512_setzero_pd();
  Size j = 0;
  for (; j + 8 <= width; j += 8) {
    const __m512d x = widen(one + j);
    for (int k = 0; k < count; ++k) sum[k] = _mm512_fmadd_pd(widen(many[k] + j), x, sum[k]);
  }
  for (int k = 0; k < count; ++k) {
    out[k] = sum_of_lanes(sum[k]);
    for (Size i = j; i < width; ++i) out[k] += static_cast<double>(many[k][i]) * one[i];
  }
}

// acc[j] += sum over k of q[k] rows[k][j].
template <int count, class T>
SKYFOLD_INLINE void add_rows(const T* const* rows, const double* q, Size width, double* acc) {
  __m512d weight[count];
  for (int k = 0; k < count; ++k) weight[k] = _mm512_set1_pd(q[k]);
  Size j = 0;
  for (; j + 8 <= width; j += 8) {
    __m512d a = widen(acc + j);
    for (int k = 0; k < count; ++k) a = _mm512_fmadd_pd(widen(rows[k] + j), weight[k], a);
    _mm512_storeu_pd(acc + j, a);
  }
  for (; j < width; ++j)
    for (int k = 0; k < count; ++k) acc[j] += q[k] * static_cast<double>(rows[k][j]);
}

// Both, for four rows that are in the cache already and the four that follow, read from memory
// meanwhile: neither the memory nor the arithmetic waits.
template <class T>
SKYFOLD_INLINE void add_and_dot(const T* const* rows, const double* q, double* acc, const T* const* next,
                                const double* x, Size width, double* out) {
  __m512d weight[4], sum[4];
  for (int k = 0; k < 4; ++k) weight[k] = _mm512_set1_pd(q[k]), sum[k] = _mm512_setzero_pd();
  Size j = 0;
  for (; j + 8 <= width; j += 8) {
    const __m512d value = widen(x + j);
    __m512d a = widen(acc + j);
    for (int k = 0; k < 4; ++k) {
      sum[k] = _mm512_fmadd_pd(widen(next[k] + j), value, sum[k]);
      a = _mm512_fmadd_pd(widen(rows[k] + j), weight[k], a);
    }
    _mm512_storeu_pd(acc + j, a);
  }
  for (int k = 0; k < 4; ++k) {
    out[k] = sum_of_lanes(sum[k]);
    for (Size i = j; i < width; ++i) {
      out[k] += static_cast<double>(next[k][i]) * x[i];
      acc[i] += q[k] * static_cast<double>(rows[k][i]);
    }
  }
}
#else
// out[k] = sum over j of many[k][j] one[j], for up to four k. Named sums, because compilers keep those
// in vector registers.
template <int count, class A, class B>
SKYFOLD_INLINE void dots(const A* const* many, const B* one, Size width, double* out) {
  double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
  const A *r0 = many[0], *r1 = many[count > 1 ? 1 : 0], *r2 = many[count > 2 ? 2 : 0], *r3 = many[count > 3 ? 3 : 0];
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (Size j = 0; j < width; ++j) {
    const double x = static_cast<double>(one[j]);
    s0 += static_cast<double>(r0[j]) * x;
    if (count > 1) s1 += static_cast<double>(r1[j]) * x;
    if (count > 2) s2 += static_cast<double>(r2[j]) * x;
    if (count > 3) s3 += static_cast<double>(r3[j]) * x;
  }
  const double sums[] = {s0, s1, s2, s3};
  std::copy_n(sums, count, out);
}

// acc[j] += sum over k of q[k] rows[k][j].
template <int count, class T>
SKYFOLD_INLINE void add_rows(const T* const* rows, const double* q, Size width, double* acc) {
#pragma omp simd
  for (Size j = 0; j < width; ++j) {
    double a = acc[j];
    for (int k = 0; k < count; ++k) a += q[k] * static_cast<double>(rows[k][j]);
    acc[j] = a;
  }
}

// Both, for four rows that are in the cache already and the four that follow, read from memory
// meanwhile: neither the memory nor the arithmetic waits.
template <class T>
SKYFOLD_INLINE void add_and_dot(const T* const* rows, const double* q, double* acc, const T* const* next,
                                const double* x, Size width, double* out) {
  double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
  const double q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];
  const T *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  const T *n0 = next[0], *n1 = next[1], *n2 = next[2], *n3 = next[3];
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (Size j = 0; j < width; ++j) {
    s0 += static_cast<double>(n0[j]) * x[j];
    s1 += static_cast<double>(n1[j]) * x[j];
    s2 += static_cast<double>(n2[j]) * x[j];
    s3 += static_cast<double>(n3[j]) * x[j];
    double a = acc[j];
    a += q0 * static_cast<double>(r0[j]);
    a += q1 * static_cast<double>(r1[j]);
    a += q2 * static_cast<double>(r2[j]);
    a += q3 * static_cast<double>(r3[j]);
    acc[j] = a;
  }
  out[0] = s0, out[1] = s1, out[2] = s2, out[3] = s3;
}
#endif

template <int count, class T> struct Rows {
  const T* at[count];
  double q[count], sum[count] = {};

  SKYFOLD_INLINE Rows(const Problem<T>& p, Size i) {
    for (int k = 0; k < count; ++k) at[k] = p.row(i + k);
  }

  // From the sums of row times values to the expectation, and what the rows are to be added with.
  SKYFOLD_INLINE void judge(const Problem<T>& p, Size i) {
    for (int k = 0; k < count; ++k) {
      const double scale = p.scale(i + k);
      q[k] = p.counts ? p.counts[i + k] * scale : 0.0;
      if (!p.values) continue;
      const double e = sum[k] * scale + (p.others ? p.others[i + k] : 0.0);
      p.expectation[i + k] = e;
      q[k] /= e < tiny ? tiny : e; // NaN stays
    }
  }
};

template <int count, class T> SKYFOLD_INLINE void some_rows(const Problem<T>& p, Size i, double* acc) {
  Rows<count, T> rows(p, i);
  if (p.values) dots<count>(rows.at, p.values, p.width, rows.sum);
  rows.judge(p, i);
  if (p.back) add_rows<count>(rows.at, rows.q, p.width, acc);
}

template <class T> SKYFOLD_INLINE void rows_from_cache(const Problem<T>& p, Size begin, Size end, double* acc) {
  Size i = begin;
  for (; i + 4 <= end; i += 4) some_rows<4>(p, i, acc);
  for (; i < end; ++i) some_rows<1>(p, i, acc);
}

template <class T> SKYFOLD_ROWS void rows_from_memory(const Problem<T>& p, Size begin, Size end, double* acc) {
  if (!p.values || !p.back || begin + 8 > end) return rows_from_cache(p, begin, end, acc);
  Size i = begin;
  Rows<4, T> rows(p, i);
  dots<4>(rows.at, p.values, p.width, rows.sum);
  rows.judge(p, i);
  for (i += 4; i + 4 <= end; i += 4) {
    Rows<4, T> next(p, i);
    add_and_dot(rows.at, rows.q, acc, next.at, p.values, p.width, next.sum);
    next.judge(p, i);
    rows = next;
  }
  add_rows<4>(rows.at, rows.q, p.width, acc);
  rows_from_cache(p, i, end, acc);
}
