// Micro-kernels for AVX-512 with VNNI: Intel servers since 2019, AMD since Zen 4.
#include <immintrin.h>

#include "cpu/matmul_simd.h"
#include "cpu/ops.h"
#include "cpu/read_page.h"
#include "cpu/vector_ops.h"

namespace tinychat {
namespace {

// --- matmul_w4, matmul_w8 ---

struct Vector512 {
  static constexpr int kRows = 16;
  static constexpr int kMaxTokens = 16;
  static constexpr bool kTwoChains = true;
  using Int = __m512i;
  using Float = __m512;

  static Int load(const std::uint8_t* from) { return _mm512_loadu_si512(from); }
  static Int low_nibbles(Int bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi8(15)); }
  static Int high_nibbles(Int bytes) { return low_nibbles(_mm512_srli_epi16(bytes, 4)); }
  static Int high_nibbles_times_16(Int bytes) {
    return _mm512_and_si512(bytes, _mm512_set1_epi8(-16));
  }
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
    for (int i = 0; i < kQuadsPerStep; ++i) {
      std::int32_t quad;
      __builtin_memcpy(&quad, quads + i * kTokens * 4, sizeof quad);
      Int& to = i % 2 == 0 ? even : odd;
      to = _mm512_dpbusd_epi32(to, codes[i], _mm512_set1_epi32(quad));
    }
  }
  static Int sum(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static Int divide_by_16(Int dots) { return _mm512_srai_epi32(dots, 4); }
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

Isa avx512_vnni_isa() {
  Isa isa = avx2_isa();
  isa.name = "avx512_vnni";
  // --- matmul_w4, matmul_w8 ---
  isa.max_tokens = Vector512::kMaxTokens;
  isa.matmul_w4 = matmul_any<Vector512, 4>;
  isa.matmul_w8 = matmul_any<Vector512, 8>;
  // --- read_bandwidth ---
  isa.sum_page = sum_page;
  // --- norm, embedding, attention, activation, sample ---
  use_vector_ops(&isa);
  return isa;
}

}  // namespace tinychat
