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

// The same bits, of another type.
template <class To, class From>
__device__ __forceinline__ To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(std::int8_t x) { return static_cast<float>(x); }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(Bfloat16 x) {
  return bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

__device__ __forceinline__ __half2 half2_of(std::uint32_t word) { return bit_cast<__half2>(word); }
__device__ __forceinline__ std::uint32_t word_of(__half2 pair) {
  return bit_cast<std::uint32_t>(pair);
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
