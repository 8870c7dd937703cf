// From words of the layout tc16 to A operands of tensor cores.
//
// A code becomes a float16 number by setting the bits of 1024 above it: the result is 1024 + q, or
// 1024 + 16 q where four zero bits are below it. Taking 1024 + z away, or (with a factor 1/16, one
// fma) 64 + z, leaves q - z, and no step rounds: all are integers, or sixteenths, of few bits.
//
// One could leave the 1024 in and undo it on the sum, through the sum of the activations; of nine
// instructions for eight codes that saves four. But then the terms are a hundred times as large and
// so are the roundings of the sums, and tensor cores do not round them, they cut off. Nine are
// quick enough: some 100 codes a cycle on a multiprocessor, where the memory of an H200 brings 35.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/half.cuh"
#include "cuda/ptx.cuh"
#include "cuda/tc16.h"

namespace tinychat::cuda {

// What a lane needs of a group: for its rows g and g + 8.
struct GroupScales {
  float scales[2];
  __half2 bias[2];  // what codes above 1024 still need to become q - z, twice
};

// From the eight bytes that a lane reads of a group's scales.
template <int kBits>
__device__ __forceinline__ GroupScales group_scales(uint2 pairs) {
  const __half2 low = half2_of(pairs.x), high = half2_of(pairs.y);
  constexpr float kOne = 1024.0f;
  constexpr float kOneAboveNibble = kOne / 16;
  const float upper = kBits == 4 ? kOneAboveNibble : kOne;
  return {
      {__low2float(low), __low2float(high)},
      {__float2half2_rn(-kOne - __high2float(low)), __float2half2_rn(-upper - __high2float(high))}};
}

// 1024 + the code at the low end of each half of `word`, or what else `kMask` leaves there.
template <std::uint32_t kMask>
__device__ __forceinline__ __half2 above_1024(std::uint32_t word) {
  constexpr std::uint32_t kTwice1024 = 0x64006400u;
  constexpr int kAndOr = (0xf0 & 0xcc) | 0xaa;
  return half2_of(lop3<kAndOr>(word, kMask, kTwice1024));
}

// The operand of 16 rows and inputs, q - z. `words` are the lane's of it: one of W4, two of W8.
template <int kBits>
__device__ __forceinline__ void dequantize(const std::uint32_t* words, const GroupScales& group,
                                           std::uint32_t (&a)[4]) {
#pragma unroll
  for (int upper = 0; upper < 2; ++upper) {  // half of the inputs
    if constexpr (kBits == 4) {
      const std::uint32_t word = words[0] >> 8 * upper;
      const __half2 sixteenth = __float2half2_rn(0.0625f);
      a[2 * upper] = word_of(__hadd2(above_1024<0x000f000fu>(word), group.bias[0]));
      a[2 * upper + 1] = word_of(__hfma2(above_1024<0x00f000f0u>(word), sixteenth, group.bias[1]));
    } else {
      const std::uint32_t word = words[upper];
      a[2 * upper] = word_of(__hadd2(above_1024<0x00ff00ffu>(word), group.bias[0]));
      a[2 * upper + 1] = word_of(__hadd2(above_1024<0x00ff00ffu>(word >> 8), group.bias[1]));
    }
  }
}

}  // namespace tinychat::cuda
