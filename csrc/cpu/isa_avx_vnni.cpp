// AVX2 plus the 256-bit dot product of AVX-VNNI: Intel client CPUs since 2021, AMD since Zen 5.
#include <immintrin.h>

#include "cpu/matmul_simd.h"
#include "cpu/ops.h"

namespace tinychat {
namespace {

// --- matmul ---

struct DotAvxVnni {
  static constexpr bool kTwoChains = true;

  template <int kBits, int kTokens>
  static void add_dots(__m256i& even, __m256i& odd, const __m256i* codes,
                       const std::int8_t* quads) {
#pragma GCC unroll 8
    for (int i = 0; i < kStepQuads; ++i) {
      __m256i& to = i % 2 == 0 ? even : odd;
      to = _mm256_dpbusd_avx_epi32(to, codes[i], broadcast256(quads + i * kTokens * 4));
    }
  }
};

}  // namespace

Isa avx_vnni_isa() {
  Isa isa = avx2_isa();
  isa.name = "avx_vnni";
  // --- matmul ---
  use_matmul<Vector256<DotAvxVnni>>(&isa);
  return isa;
}

}  // namespace tinychat
