// float16 and bfloat16. The host build needs no CUDA toolkit: it has its own of what kernels use.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/common.cuh"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#else
#include "cuda/emulation/half.h"
#endif

namespace tinychat::cuda {

// The upper half of a float32; only ever read.
struct Bfloat16 {
  std::uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(std::int8_t x) { return static_cast<float>(x); }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(Bfloat16 x) {
  const std::uint32_t word = static_cast<std::uint32_t>(x.bits) << 16;
  float value;
  memcpy(&value, &word, sizeof(value));
  return value;
}

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

}  // namespace tinychat::cuda
