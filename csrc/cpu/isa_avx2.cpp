// Micro-kernels for AVX2 with FMA and F16C: x86-64 since about 2013.
#include <immintrin.h>

#include <cfloat>
#include <cmath>

#include "cpu/matmul_simd.h"
#include "cpu/ops.h"
#include "cpu/read_page.h"
#include "cpu/vector_ops.h"

namespace tinychat {
namespace {

// --- matmul ---

// NOTE: maddubs saturates at 16 bits. Two products of a 4-bit code stay within 2 * 15 * 127 = 3810,
// and 8 such pairs below 2^15, so codes of up to 4 bits are exact; two products of an 8-bit code do
// not fit, so those are widened first.
struct DotAvx2 {
  static constexpr bool kTwoChains = false;

  static __m256i add_pairs(__m256i sum, __m256i pairs) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }

  static __m256i add_wide(__m256i sum, __m256i codes, __m256i quad) {
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(quad, 8), 8);
    const __m256i odd = _mm256_srai_epi16(quad, 8);
    const __m256i even_codes = _mm256_and_si256(codes, _mm256_set1_epi16(255));
    const __m256i odd_codes = _mm256_srli_epi16(codes, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even_codes, even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(odd_codes, odd));
  }

  template <int kBits, int kTokens>
  static void add_dots(__m256i& sum, __m256i&, const __m256i* codes, const std::int8_t* quads) {
    if constexpr (kBits <= 4) {
      __m256i pairs = _mm256_maddubs_epi16(codes[0], broadcast256(quads));
#pragma GCC unroll 8
      for (int i = 1; i < kStepQuads; ++i) {
        const __m256i products =
            _mm256_maddubs_epi16(codes[i], broadcast256(quads + i * kTokens * 4));
        pairs = _mm256_add_epi16(pairs, products);
      }
      sum = add_pairs(sum, pairs);
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < kStepQuads; ++i) {
        sum = add_wide(sum, codes[i], broadcast256(quads + i * kTokens * 4));
      }
    }
  }
};

float quantize_group(const float* x, int n, int group, std::int8_t* codes, int stride,
                     std::int32_t* minus_sum) {
  float padded[kMaxGroup];
  if (n < group) {
    for (int i = 0; i < group; ++i) padded[i] = i < n ? x[i] : 0.0f;
    x = padded;
  }
  // As integers the bits of non-negative floats are in the order of the floats, with NaN above
  // infinity.
  const __m256i sign = _mm256_set1_epi32(INT32_MIN);
  __m256i largest8 = _mm256_setzero_si256();
  for (int i = 0; i < group; i += 8) {
    const __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + i));
    largest8 = _mm256_max_epi32(largest8, _mm256_andnot_si256(sign, bits));
  }
  __m128i largest4 =
      _mm_max_epi32(_mm256_castsi256_si128(largest8), _mm256_extracti128_si256(largest8, 1));
  largest4 = _mm_max_epi32(largest4, _mm_shuffle_epi32(largest4, 0x4e));
  largest4 = _mm_max_epi32(largest4, _mm_shuffle_epi32(largest4, 0xb1));
  const float largest = _mm_cvtss_f32(_mm_castsi128_ps(largest4));
  if (!(largest <= FLT_MAX)) {
    for (int i = 0; i < group; ++i) codes[i / 4 * stride + i % 4] = 0;
    *minus_sum = 0;
    return NAN;
  }
  const __m256 inverse = _mm256_set1_ps(largest > kSmallestRange ? 127.0f / largest : 0.0f);

  __m256i sums = _mm256_setzero_si256();
  const auto round8 = [&](const float* from) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), inverse));
  };
  for (int i = 0; i < group; i += 32) {
    const __m256i a = round8(x + i), b = round8(x + i + 8);
    const __m256i c = round8(x + i + 16), d = round8(x + i + 24);
    sums = _mm256_add_epi32(sums, _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
    const __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    const __m256i bytes =
        _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    if (stride == 4) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), bytes);
    } else {
      std::int32_t quads[8];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(quads), bytes);
      for (int q = 0; q < 8; ++q) __builtin_memcpy(codes + (i / 4 + q) * stride, quads + q, 4);
    }
  }
  __m128i sum4 = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  sum4 = _mm_add_epi32(sum4, _mm_shuffle_epi32(sum4, 0x4e));
  sum4 = _mm_add_epi32(sum4, _mm_shuffle_epi32(sum4, 0xb1));
  *minus_sum = -_mm_cvtsi128_si32(sum4);
  return largest > kSmallestRange ? largest / 127.0f : 0.0f;
}

}  // namespace

Isa avx2_isa() {
  Isa isa = scalar_isa();
  isa.name = "avx2";
  // --- matmul ---
  isa.quantize_group = quantize_group;
  use_matmul<Vector256<DotAvx2>>(&isa);
  // --- read_bandwidth, int8_rate ---
  isa.sum_page = sum_page;
  // --- norm, embedding, attention, activation, sample ---
  use_vector_ops(&isa);
  return isa;
}

}  // namespace tinychat
