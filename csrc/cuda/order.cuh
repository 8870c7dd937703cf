// Whole numbers that order as floats do, for what ranks floats bit by bit.
#pragma once

#include <cstdint>

#include "cuda/common.cuh"

namespace tinychat::cuda {

// Of a number that is neither NaN nor -0, which has another key than 0. No number has key 0.
constexpr std::uint32_t kMinusInfinityKey = 0x007fffffu;
__device__ __forceinline__ std::uint32_t key_of(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(std::uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}

// Of a logit: NaN counts as minus infinity, and -0 equals 0.
__device__ __forceinline__ std::uint32_t key_of_logit(float logit) {
  return logit != logit ? kMinusInfinityKey : key_of(logit + 0.0f);
}

}  // namespace tinychat::cuda
