// 512-bit vectors with VNNI, as matmul_simd.h wants them. Only ISA files include this.
#pragma once

#include <immintrin.h>

#include "cpu/matmul_simd.h"

namespace tinychat {
namespace {

struct Vector512 {
  static constexpr int kRows = 16;
  static constexpr int kMaxTokens = 8;
  static constexpr bool kTwoChains = true;
  using Int = __m512i;
  using Float = __m512;

  static Int load(const std::uint8_t* from) { return _mm512_loadu_si512(from); }
  // Of bytes, but for the bits that cross into a neighbour.
  template <int kBy>
  static Int shift_right(Int bytes) {
    return _mm512_srli_epi16(bytes, kBy);
  }
  template <int kBy>
  static Int shift_left(Int bytes) {
    return _mm512_slli_epi16(bytes, kBy);
  }
  static Int masked(Int bytes, int mask) {
    return _mm512_and_si512(bytes, _mm512_set1_epi8(static_cast<char>(mask)));
  }
  static Int either(Int a, Int b) { return _mm512_or_si512(a, b); }
  static Int load_zeros(const std::uint8_t* from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  // Both factors fit 16 bits: a zero is a byte, and 128 codes sum to less than 2^15.
  static Int times(Int zeros, std::int32_t minus_sum) {
    return _mm512_madd_epi16(zeros, _mm512_set1_epi32(minus_sum));
  }
  static Int no_dots() { return _mm512_setzero_si512(); }
  template <int kBits, int kTokens>
  static void add_dots(Int& even, Int& odd, const Int* codes, const std::int8_t* quads) {
#pragma GCC unroll 8
    for (int i = 0; i < kStepQuads; ++i) {
      std::int32_t quad;
      __builtin_memcpy(&quad, quads + i * kTokens * 4, sizeof quad);
      Int& to = i % 2 == 0 ? even : odd;
      to = _mm512_dpbusd_epi32(to, codes[i], _mm512_set1_epi32(quad));
    }
  }
  static Int sum(Int a, Int b) { return _mm512_add_epi32(a, b); }
  template <int kLog2>
  static Int divide(Int dots) {
    return _mm512_srai_epi32(dots, kLog2);
  }
  static Float load_scales(const std::uint8_t* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Float add_scaled(Float sum, Int dots, float scale, Float weight_scales) {
    const Float product = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), _mm512_set1_ps(scale));
    return _mm512_fmadd_ps(product, weight_scales, sum);
  }
  static Float zero() { return _mm512_setzero_ps(); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float load_floats(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Float value) { _mm512_storeu_ps(to, value); }
};

}  // namespace
}  // namespace tinychat
