// What a card can do at best: read memory, and start one kernel after the other. Built into a
// library of its own by ceilings.py, which measures; no part of the extension.
#include <cstdint>
#include <string>
#include <utility>

#include "../../tests/cuda/exported.h"
#include "cuda/common.cuh"
#include "cuda/launch.h"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kReadThreads = 512;
constexpr int kReadWarps = kReadThreads / kWarpLanes;

__device__ __forceinline__ unsigned sum_of(uint4 v) { return v.x + v.y + v.z + v.w; }

// out[b] = the sum, modulo 2^32, of the words that block b reads of from [n] 16-byte vectors. A
// thread has kLoads vectors on their way; neighbouring threads read neighbouring ones, and the
// whole grid strides through memory together.
template <int kLoads>
__global__ void __launch_bounds__(kReadThreads)
    read_kernel(const uint4* from, int n, unsigned* out) {
  pdl_launch();
  const int stride = static_cast<int>(gridDim.x) * kReadThreads;
  int i = static_cast<int>(blockIdx.x) * kReadThreads + static_cast<int>(threadIdx.x);
  unsigned sum = 0;
  for (; i + (kLoads - 1) * stride < n; i += kLoads * stride) {
    uint4 loaded[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) loaded[k] = load_stream16(from + i + k * stride);
#pragma unroll
    for (int k = 0; k < kLoads; ++k) sum += sum_of(loaded[k]);
  }
  for (; i < n; i += stride) sum += sum_of(load_stream16(from + i));

  unsigned* sums = shared_memory<unsigned>();  // [kReadWarps]
  sum = block_sum<kReadWarps>(sum, sums);
  pdl_wait();
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// Nothing, which is what a launch costs; given a counter, one more, so that a lost launch is seen.
__global__ void empty_kernel(unsigned* counter) {
  pdl_launch();
  pdl_wait();
  if (counter != nullptr && blockIdx.x == 0 && threadIdx.x == 0) *counter += 1;
}

}  // namespace
}  // namespace tinychat::cuda

using namespace tinychat::cuda;

// `loads` is 4, 8 or 16.
EXPORTED const char* read_memory(const Queue* q, const uint4* from, int n, unsigned* out,
                                 int blocks, int loads) {
  const auto kernel = loads == 4 ? read_kernel<4> : loads == 8 ? read_kernel<8> : read_kernel<16>;
  const std::size_t shared = kReadWarps * sizeof(unsigned);
  return message(launch(*q, {"read_memory", static_cast<unsigned>(blocks), kReadThreads, shared},
                        kernel, from, n, out));
}

// `launches` empty kernels that follow each other.
EXPORTED const char* chain(const Queue* q, unsigned* counter, int launches, int blocks,
                           int threads) {
  const LaunchShape shape{"chain", static_cast<unsigned>(blocks), static_cast<unsigned>(threads)};
  for (int i = 0; i < launches; ++i) {
    Status status = launch(*q, shape, empty_kernel, counter);
    if (!status.error.empty()) return message(std::move(status));
  }
  return message({});
}
