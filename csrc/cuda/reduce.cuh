// Sums and maxima over a warp and a block, and the block that comes last.
#pragma once

#include "cuda/common.cuh"
#include "cuda/ptx.cuh"

namespace tinychat::cuda {

// The sum over all lanes, the same bits in each.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int bit = kWarpLanes / 2; bit > 0; bit /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, bit);
  }
  return value;
}

// The largest over all lanes.
template <class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int bit = kWarpLanes / 2; bit > 0; bit /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, bit);
    value = value < other ? other : value;
  }
  return value;
}

// The sum over all threads, the same bits in each. `scratch` is shared memory, one number for
// each of the kWarps warps; it may be used again after the next barrier.
template <int kWarps, class T>
__device__ __forceinline__ T block_sum(T value, T* scratch) {
  value = warp_sum(value);
  if (lane_index() == 0) scratch[warp_index()] = value;
  __syncthreads();
  return warp_sum(lane_index() < kWarps ? scratch[lane_index()] : T{});
}

// The largest over all threads; `scratch` as above.
template <int kWarps>
__device__ __forceinline__ float block_max(float value, float* scratch) {
  value = warp_max(value);
  if (lane_index() == 0) scratch[warp_index()] = value;
  __syncthreads();
  return warp_max(scratch[lane_index() % kWarps]);
}

// True in the threads of that block alone which is the last of `blocks` to call, and which sees
// what all the others wrote before. `counter` is zero before the launch and again after it; `flag`
// is one word of shared memory.
__device__ __forceinline__ bool is_last_block(unsigned* counter, unsigned blocks, unsigned* flag) {
  __syncthreads();  // what this block wrote comes before its arrival
  if (threadIdx.x == 0) {
    *flag = fetch_add_acq_rel(counter, 1u) == blocks - 1 ? 1u : 0u;
    if (*flag != 0) *counter = 0;
  }
  __syncthreads();
  return *flag != 0;
}

}  // namespace tinychat::cuda
