// Sums, running sums and maxima over a warp and a block, and the block that comes last.
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

// A number after `move` of its 32 bits, or of its lower and its upper ones: lanes exchange no more.
template <class T, class F>
__device__ __forceinline__ T in_words(T value, F move) {
  if constexpr (sizeof(T) == sizeof(std::uint32_t)) {
    return move(value);
  } else {
    const std::uint32_t low = move(static_cast<std::uint32_t>(value));
    const std::uint32_t high = move(static_cast<std::uint32_t>(value >> 32));
    return static_cast<T>(high) << 32 | low;
  }
}

// The number of another lane; a struct of several has an overload beside it.
template <class T>
__device__ __forceinline__ T from_lane(T value, int lane) {
  return in_words(value, [=](auto word) { return __shfl_sync(kAllLanes, word, lane); });
}

// The sum of the lanes up to and with this one.
template <class T>
__device__ __forceinline__ T warp_scan(T value) {
#pragma unroll
  for (int by = 1; by < kWarpLanes; by *= 2) {
    const T other = from_lane(value, (lane_index() - by) & (kWarpLanes - 1));
    if (lane_index() >= by) value = value + other;
  }
  return value;
}

template <class T>
__device__ __forceinline__ T larger(T a, T b) {
  return a < b ? b : a;
}
// NaN does not count.
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }

// The largest over all lanes, or over each kLanes that follow each other.
template <int kLanes = kWarpLanes, class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int bit = kLanes / 2; bit > 0; bit /= 2) {
    const auto move = [=](auto word) { return __shfl_xor_sync(kAllLanes, word, bit); };
    value = larger(value, in_words(value, move));
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
template <int kWarps, class T>
__device__ __forceinline__ T block_max(T value, T* scratch) {
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
