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

// Codes of a tile of rows into a panel.
template <class V, int kBits>
struct Unpack {
  template <int... kQuads>
  static TINYCHAT_INLINE void unpack_step(const std::uint8_t* step, std::uint8_t* panel,
                                          std::integer_sequence<int, kQuads...>) {
    // Four tokens: a number for which no code is left further up in its byte.
    using Tile = MatmulTile<V, kBits, 4>;
    (V::store_codes(panel + kQuads * kLineBytes, Tile::template load_quad<kQuads>(step)), ...);
  }

  static void run(const Packing& packing, const std::uint8_t* tile, int first_group, int groups,
                  std::uint8_t* panel) {
    const int steps = packing.group / kStepInputs;
    for (int g = first_group; g < first_group + groups; ++g) {
      const std::uint8_t* lines = tile + packing.lines(static_cast<std::size_t>(g));
      for (int s = 0; s < steps; ++s, panel += kStepQuads * kLineBytes) {
        for (int row = 0; row < kTileRows; row += V::kRows) {
          unpack_step(lines + s * kBits * kLineBytes + row * 4, panel + row * 4,
                      std::make_integer_sequence<int, kStepQuads>());
        }
      }
    }
  }
};

// Panels by a tile of tokens. Loading is as dear as multiplying, so each code and each activation
// that is loaded serves several products: kVectors rows of vectors by kTokens sums in registers.
template <class V, int kBits, int kTokens>
struct PanelTile {
  using Int = typename V::Int;
  using Float = typename V::Float;

  static constexpr int kVectors = V::kPanelTiles * kTileRows / V::kRows;
  using Dots = Int[kVectors][kTokens];

  // The tile that a vector of rows belongs to, and its place there.
  static constexpr int tile(int vector) { return vector * V::kRows / kTileRows; }
  static constexpr int row(int vector) { return vector * V::kRows % kTileRows; }

  // kSteps of a panel: dots += codes · activations.
  static TINYCHAT_INLINE void multiply_step(const std::uint8_t* const* lines,
                                            const std::int8_t* quads, Dots& dots) {
    typename V::template Products<kBits> products[kVectors][kTokens];
#pragma GCC unroll 8
    for (int q = 0; q < kStepQuads; ++q) {
      Int codes[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) codes[v] = V::load(lines[v] + q * kLineBytes);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const Int quad = V::broadcast(quads + (q * kTokens + t) * 4);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) products[v][t].add(codes[v], quad, dots[v][t]);
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) products[v][t].finish(dots[v][t]);
    }
  }

  static TINYCHAT_INLINE void multiply_group(const PanelWork& work, std::size_t g,
                                             const std::uint8_t* const* panels) {
    const Packing& packing = work.packing;
    const std::size_t column = g * kTokens;
    Dots dots;
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const Int zeros = V::load_zeros(work.tiles[tile(v)] + packing.zeros(g) + row(v));
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        dots[v][t] = V::times(zeros, work.x.minus_sums[column + t]);
      }
    }
    const std::int8_t* quads = work.x.codes + column * packing.group;
    const std::uint8_t* lines[kVectors];
    for (int v = 0; v < kVectors; ++v) lines[v] = panels[tile(v)] + row(v) * 4;
    for (int s = 0; s < packing.group / kStepInputs; ++s) {
      multiply_step(lines, quads, dots);
      quads += kStepQuads * kTokens * 4;
      for (int v = 0; v < kVectors; ++v) lines[v] += kStepQuads * kLineBytes;
    }
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const Float scales = V::load_scales(work.tiles[tile(v)] + packing.scales(g) + row(v) * 2);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        float* sum = work.sums + (t * V::kPanelTiles + tile(v)) * kTileRows + row(v);
        V::store(sum,
                 V::add_scaled(V::load_floats(sum), dots[v][t], work.x.scales[column + t], scales));
      }
    }
  }

  static void run(const PanelWork& work) {
    const std::size_t panel_bytes = static_cast<std::size_t>(work.packing.group) * kTileRows;
    const std::uint8_t* panels[kMostPanelTiles];
    for (int i = 0; i < V::kPanelTiles; ++i) panels[i] = work.panels[i];
    for (int g = 0; g < work.groups; ++g) {
      multiply_group(work, static_cast<std::size_t>(work.first_group + g), panels);
      for (int i = 0; i < V::kPanelTiles; ++i) panels[i] += panel_bytes;
    }
  }
};

// Chooses the kernel for the number of tokens, 1..kTokens.
template <class V, int kBits, int kTokens = V::kPanelTokens>
void multiply_panels(const PanelWork& work) {
  if (work.x.tokens == kTokens) {
    PanelTile<V, kBits, kTokens>::run(work);
  } else if constexpr (kTokens > 1) {
    multiply_panels<V, kBits, kTokens - 1>(work);
  }
}

// As above, for a few tokens.
template <class V, int kBits, int kTokens = V::kFewTokens>
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
  constexpr int kChains = 12;
  const std::uint8_t ones[kLineBytes] = {1, 1, 1, 1};
  const std::int8_t quad_bytes[4] = {1, 1, 1, 1};
  const Int quad = V::broadcast(quad_bytes);
  Int codes = V::load(ones);
  Int dots[kChains];
  for (Int& dot : dots) dot = V::no_dots();
  for (int round = 0; round < rounds; ++round) {
    typename V::template Products<4> products[kChains];
#pragma GCC unroll 8
    for (int q = 0; q < kStepQuads; ++q) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) {
        asm volatile("" : "+v"(codes));  // nobody knows that they are the same again
        products[i].add(codes, quad, dots[i]);
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) products[i].finish(dots[i]);
  }
  for (Int& dot : dots) asm volatile("" : "+v"(dot));  // kept, so that no product can be left out
  return std::int64_t{rounds} * kStepQuads * kChains * V::kRows * 4 * 2;
}

template <class V>
void use_matmul(Isa* isa) {
  isa->multiply_registers = multiply_registers<V>;
  isa->few_tokens = V::kFewTokens;
  isa->matmul[2] = matmul_any<V, 2>;
  isa->matmul[3] = matmul_any<V, 3>;
  isa->matmul[4] = matmul_any<V, 4>;
  isa->matmul[8] = matmul_any<V, 8>;
  isa->panel_tiles = V::kPanelTiles;
  isa->panel_tokens = V::kPanelTokens;
  isa->unpack_panel[2] = Unpack<V, 2>::run;
  isa->unpack_panel[3] = Unpack<V, 3>::run;
  isa->unpack_panel[4] = Unpack<V, 4>::run;
  isa->unpack_panel[8] = Unpack<V, 8>::run;
  // What counts of a code in a byte is whether it fits four bits.
  isa->multiply_panels[2] = multiply_panels<V, 4>;
  isa->multiply_panels[3] = multiply_panels<V, 4>;
  isa->multiply_panels[4] = multiply_panels<V, 4>;
  isa->multiply_panels[8] = multiply_panels<V, 8>;
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
  static constexpr int kFewTokens = 4;
  static constexpr int kPanelTiles = 1;
  static constexpr int kPanelTokens = Dot::kPanelTokens;
  static constexpr bool kTwoChains = Dot::kTwoChains;
  template <int kBits>
  using Products = typename Dot::template Products<kBits>;
  using Int = __m256i;
  using Float = __m256;

  static Int load(const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void store_codes(std::uint8_t* to, Int codes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), codes);
  }
  static Int broadcast(const std::int8_t* quad) { return broadcast256(quad); }
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
