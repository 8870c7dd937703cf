// The matmul kernels for all x86 instruction sets, over a class `V` that names the vectors and
// their few steps. Only ISA files include this; everything is internal to them, compiled with their
// flags.
#pragma once

#include <immintrin.h>

#include <utility>

#include "cpu/ops.h"

namespace tinychat {
namespace {

// Processors prefetch a stream by themselves, but stop at the end of a page. So one line in four,
// or one a step, is requested two pages ahead, into the second level: enough to start the stream
// there. (Requesting every line, or into the first level, was slower than no request: 13 GB/s
// instead of 30, one thread of a Zen 4.) Tile follows tile, so it is not wasted.
constexpr std::size_t kPrefetchBytes = 8192;
constexpr int kPrefetchEvery = 4;

#define TINYCHAT_INLINE inline __attribute__((always_inline))

// One choice of vectors, bits and tokens: everything below is unrolled for it.
template <class V, int kBits, int kTokens>
struct MatmulTile {
  using Int = typename V::Int;
  using Float = typename V::Float;

  static constexpr int kParts = kTileRows / V::kRows;
  static constexpr int kWidth = low_width(kBits);
  static constexpr int kQuadsPerLine = 8 / kWidth;
  // One chain of dependent products would be slower than memory, so a few tokens get two: even and
  // odd quads. The odd codes may then stay further up in their bytes, where fewer shifts bring
  // them, and count 2^kOddShift times.
  static constexpr bool kTwoChains = V::kTwoChains && kTokens <= 2;
  static constexpr int kOddShift = kTwoChains && kBits < 8 ? kWidth : 0;
  static constexpr bool kPrefetch = kTokens <= 4;

  // kCount bits of every byte, from bit kFrom on, moved to bit kTo.
  template <int kFrom, int kCount, int kTo>
  static TINYCHAT_INLINE Int field(Int bytes) {
    if constexpr (kFrom > kTo) bytes = V::template shift_right<kFrom - kTo>(bytes);
    if constexpr (kFrom < kTo) bytes = V::template shift_left<kTo - kFrom>(bytes);
    return kCount == 8 ? bytes : V::masked(bytes, ((1 << kCount) - 1) << kTo);
  }

  // The codes of one quad: those of 4 consecutive inputs for V::kRows rows, one row a lane.
  template <int kQuad>
  static TINYCHAT_INLINE Int load_quad(const std::uint8_t* step) {
    constexpr int kTo = kQuad % 2 == 1 ? kOddShift : 0;
    constexpr int kFrom = kQuad % kQuadsPerLine * kWidth;
    const Int low = field<kFrom, kWidth, kTo>(V::load(step + kQuad / kQuadsPerLine * kLineBytes));
    if constexpr (kBits != 3) {
      return low;
    } else {
      return V::either(low, field<kQuad, 1, kTo + 2>(V::load(step + 2 * kLineBytes)));
    }
  }

  template <int... kQuads>
  static TINYCHAT_INLINE void load_step(const std::uint8_t* step, bool prefetch, Int* codes,
                                        std::integer_sequence<int, kQuads...>) {
    if (prefetch) {
#pragma GCC unroll 2
      for (int i = 0; i < kBits; i += kPrefetchEvery) {
        const std::uint8_t* ahead = step + i * kLineBytes + kPrefetchBytes;
        _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
      }
    }
    ((codes[kQuads] = load_quad<kQuads>(step)), ...);
  }

  // Products of one group, minus its zeros: sum over its inputs of (code - zero) * activation.
  static TINYCHAT_INLINE void multiply_group(const std::uint8_t* lines, int steps, bool prefetch,
                                             Int zeros, const std::int8_t* quads,
                                             const std::int32_t* minus_sums, Int* dots) {
    Int odd_dots[kTokens];
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      dots[t] = V::times(zeros, minus_sums[t]);
      odd_dots[t] = V::no_dots();
    }
    for (int s = 0; s < steps; ++s) {
      Int codes[kStepQuads];
      load_step(lines + s * kBits * kLineBytes, prefetch, codes,
                std::make_integer_sequence<int, kStepQuads>());
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        V::template add_dots<kBits, kTokens>(dots[t], kTwoChains ? odd_dots[t] : dots[t], codes,
                                             quads + (s * kStepQuads * kTokens + t) * 4);
      }
    }
    if constexpr (kTwoChains) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        dots[t] = V::sum(dots[t], V::template divide<kOddShift>(odd_dots[t]));
      }
    }
  }

  static TINYCHAT_INLINE void write_result(const Float (&sums)[kParts][kTokens], const float* bias,
                                           float* out, std::size_t out_stride) {
    for (int part = 0; part < kParts; ++part) {
      for (int t = 0; t < kTokens; ++t) {
        float* to = out + static_cast<std::size_t>(t) * out_stride + part * V::kRows;
        const Float sum = sums[part][t];
        V::store(to, bias == nullptr ? sum : V::add(sum, V::load_floats(bias + part * V::kRows)));
      }
    }
  }

  static void run(const Packing& packing, const std::uint8_t* tile, const TokenTile& x,
                  const float* bias, float* out, std::size_t out_stride) {
    const std::size_t groups = packing.groups();
    const std::size_t group_bytes = packing.group_bytes();
    const int steps = packing.group / kStepInputs;
    const std::uint8_t* lines = tile;
    const std::uint8_t* head = tile;
    Float sums[kParts][kTokens];
    for (int part = 0; part < kParts; ++part) {
      for (int t = 0; t < kTokens; ++t) sums[part][t] = V::zero();
    }
    for (std::size_t g = 0; g < groups; ++g) {
      if (g % kBlockGroups == 0) {
        head = lines;
        lines += Packing::head_bytes(groups - g < kBlockGroups ? groups - g : kBlockGroups);
      }
      const std::size_t column = g * kTokens;
      for (int part = 0; part < kParts; ++part) {
        const int row = part * V::kRows;
        Int dots[kTokens];
        multiply_group(lines + row * 4, steps, kPrefetch && part == 0,
                       V::load_zeros(head + Packing::kZerosInHead + row),
                       x.codes + column * packing.group, x.minus_sums + column, dots);
        const Float weight_scales = V::load_scales(head + row * 2);
#pragma GCC unroll 16
        for (int t = 0; t < kTokens; ++t) {
          sums[part][t] =
              V::add_scaled(sums[part][t], dots[t], x.scales[column + t], weight_scales);
        }
      }
      lines += group_bytes;
      head += Packing::kHeadStride;
    }
    write_result(sums, bias, out, out_stride);
  }
};

// Chooses the kernel for the number of tokens, 1..kTokens.
template <class V, int kBits, int kTokens = V::kMaxTokens>
void matmul_any(const Packing& packing, const std::uint8_t* tile, const TokenTile& x,
                const float* bias, float* out, std::size_t out_stride) {
  static_assert(kTokens <= kMostTokens);
  if (x.tokens == kTokens) {
    MatmulTile<V, kBits, kTokens>::run(packing, tile, x, bias, out, out_stride);
  } else if constexpr (kTokens > 1) {
    matmul_any<V, kBits, kTokens - 1>(packing, tile, x, bias, out, out_stride);
  }
}

// See Isa::multiply_registers.
template <class V>
std::int64_t multiply_registers(int rounds) {
  using Int = typename V::Int;
  constexpr int kChains = 6;
  std::uint8_t ones[kLineBytes];
  std::int8_t quads[kStepQuads * 4];
  __builtin_memset(ones, 1, sizeof ones);
  __builtin_memset(quads, 1, sizeof quads);
  Int codes[kStepQuads], even[kChains], odd[kChains];
  for (Int& code : codes) code = V::load(ones);
  for (int i = 0; i < kChains; ++i) even[i] = odd[i] = V::no_dots();
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 6
    for (int i = 0; i < kChains; ++i) {
      // Nobody knows that the codes are the same again, nor that the sums are not wanted.
      for (Int& code : codes) asm volatile("" : "+v"(code));
      V::template add_dots<4, 1>(even[i], odd[i], codes, quads);
      asm volatile("" : "+v"(even[i]), "+v"(odd[i]));
    }
  }
  return std::int64_t{rounds} * kChains * kStepQuads * V::kRows * 4 * 2;
}

template <class V>
void use_matmul(Isa* isa) {
  isa->multiply_registers = multiply_registers<V>;
  isa->max_tokens = V::kMaxTokens;
  isa->matmul[2] = matmul_any<V, 2>;
  isa->matmul[3] = matmul_any<V, 3>;
  isa->matmul[4] = matmul_any<V, 4>;
  isa->matmul[8] = matmul_any<V, 8>;
}

inline __m256i broadcast256(const std::int8_t* quad) {
  std::int32_t bits;
  __builtin_memcpy(&bits, quad, sizeof bits);
  return _mm256_set1_epi32(bits);
}

// 256-bit vectors; `Dot` adds the products of unsigned and signed bytes, which is what AVX2 and
// AVX-VNNI do differently.
template <class Dot>
struct Vector256 {
  static constexpr int kRows = 8;
  static constexpr int kMaxTokens = 4;
  static constexpr bool kTwoChains = Dot::kTwoChains;
  using Int = __m256i;
  using Float = __m256;

  static Int load(const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  // Of bytes, but for the bits that cross into a neighbour.
  template <int kBy>
  static Int shift_right(Int bytes) {
    return _mm256_srli_epi16(bytes, kBy);
  }
  template <int kBy>
  static Int shift_left(Int bytes) {
    return _mm256_slli_epi16(bytes, kBy);
  }
  static Int masked(Int bytes, int mask) {
    return _mm256_and_si256(bytes, _mm256_set1_epi8(static_cast<char>(mask)));
  }
  static Int either(Int a, Int b) { return _mm256_or_si256(a, b); }
  static Int load_zeros(const std::uint8_t* from) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  }
  // Both factors fit 16 bits: a zero is a byte, and 128 codes sum to less than 2^15.
  static Int times(Int zeros, std::int32_t minus_sum) {
    return _mm256_madd_epi16(zeros, _mm256_set1_epi32(minus_sum));
  }
  static Int no_dots() { return _mm256_setzero_si256(); }
  template <int kBits, int kTokens>
  static void add_dots(Int& even, Int& odd, const Int* codes, const std::int8_t* quads) {
    Dot::template add_dots<kBits, kTokens>(even, odd, codes, quads);
  }
  static Int sum(Int a, Int b) { return _mm256_add_epi32(a, b); }
  template <int kLog2>
  static Int divide(Int dots) {
    return _mm256_srai_epi32(dots, kLog2);
  }
  static Float load_scales(const std::uint8_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Float add_scaled(Float sum, Int dots, float scale, Float weight_scales) {
    const Float product = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), _mm256_set1_ps(scale));
    return _mm256_fmadd_ps(product, weight_scales, sum);
  }
  static Float zero() { return _mm256_setzero_ps(); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float load_floats(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Float value) { _mm256_storeu_ps(to, value); }
};

}  // namespace
}  // namespace tinychat

#undef TINYCHAT_INLINE
