// What every kernel's source includes first. It is compiled twice: by nvcc, and as host C++, where
// emulation/ gives CUDA's names a meaning. Nothing below csrc/cuda but this file, half.cuh, ptx.cuh
// and launch.h knows which of the two it is.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef __CUDACC__
#include "cuda/emulation/names.h"
#endif

namespace tinychat::cuda {

inline constexpr int kWarpLanes = 32;
inline constexpr std::uint32_t kAllLanes = 0xffffffffu;

// The dynamic shared memory of the block, as many bytes as the launch asked for. Kernels have no
// other: the emulation fills it with NaN and watches its end.
template <class T>
__device__ __forceinline__ T* shared_memory() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char tinychat_shared[];
  return reinterpret_cast<T*>(tinychat_shared);
#else
  return reinterpret_cast<T*>(emulation::current->block->shared);
#endif
}

// Belongs into every loop that waits for another block.
#ifdef __CUDACC__
__device__ __forceinline__ void spin_pause() {
  constexpr unsigned kNanoseconds = 32;
  __nanosleep(kNanoseconds);
}
#else
inline void spin_pause(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::current->grid->pause({"spin_pause", file, line});
}
#endif

__host__ __device__ constexpr int ceil_div(int n, int by) { return (n + by - 1) / by; }

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarpLanes; }

}  // namespace tinychat::cuda
