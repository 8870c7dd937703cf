// AVX2 plus the 256-bit dot product of AVX-VNNI: Intel client CPUs since 2021, AMD since Zen 5.
#include <immintrin.h>

#include "cpu/matmul_simd.h"
#include "cpu/ops.h"

namespace tinychat {
namespace {

// --- matmul_w4, matmul_w8 ---

struct DotAvxVnni {
  template <int kBits, int kTokens>
  static __m256i dot(__m256i sum, const __m256i* codes, const std::int8_t* quads) {
    // One chain of dependent products would be slower than memory, so a few tokens get two of them.
    __m256i other = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int i = 0; i < kQuadsPerStep; ++i) {
      __m256i& to = kTokens <= 2 && i % 2 == 1 ? other : sum;
      to = _mm256_dpbusd_avx_epi32(to, codes[i], broadcast256(quads + i * kTokens * 4));
    }
    return kTokens <= 2 ? _mm256_add_epi32(sum, other) : sum;
  }
};

}  // namespace

Isa avx_vnni_isa() {
  Isa isa = avx2_isa();
  isa.name = "avx_vnni";
  // --- matmul_w4, matmul_w8 ---
  isa.matmul_w4 = matmul_any<Vector256<DotAvxVnni>, 4>;
  isa.matmul_w8 = matmul_any<Vector256<DotAvxVnni>, 8>;
  return isa;
}

}  // namespace tinychat
