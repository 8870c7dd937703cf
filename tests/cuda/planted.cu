// Four kernels with a mistake that tests must find, each beside the right one: kBug chooses.
#include "cuda/half.cuh"
#include "cuda/launch.h"
#include "cuda/ptx.cuh"
#include "exported.h"

namespace tinychat::cuda {
namespace {

constexpr unsigned kThreads = 128;

// out = from in reverse order. The mistake: no barrier between writing shared memory and reading
// what other threads wrote.
template <bool kBug>
__global__ void barrier_kernel(const float* from, float* out) {
  float* shared = shared_memory<float>();  // [kThreads]
  const unsigned i = threadIdx.x;
  shared[i] = from[i];
  if (!kBug) __syncthreads();
  out[i] = shared[kThreads - 1 - i];
}

// out[i] = the sum of from[tile][i] over tiles, through a ring of stages that cp.async fills ahead.
// The mistake: waiting until all but one group too many have come, so the tile that is read may
// still be on its way.
template <bool kBug>
__global__ void pipeline_kernel(const float4* from, float4* out, int tiles) {
  constexpr int kStages = 3;
  float4* shared = shared_memory<float4>();  // [kStages, kThreads]
  const unsigned i = threadIdx.x;
  const auto begin_copy = [&](int tile) {
    const unsigned stage = static_cast<unsigned>(tile % kStages);
    if (tile < tiles) {
      cp_async16(shared + stage * kThreads + i, from + static_cast<unsigned>(tile) * kThreads + i);
    }
    cp_async_commit();
  };
  for (int tile = 0; tile < kStages - 1; ++tile) begin_copy(tile);
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<kBug ? kStages - 1 : kStages - 2>();
    __syncthreads();
    const unsigned stage = static_cast<unsigned>(tile % kStages);
    const float4 value = shared[stage * kThreads + kThreads - 1 - i];
    sum = make_float4(sum.x + value.x, sum.y + value.y, sum.z + value.z, sum.w + value.w);
    begin_copy(tile + kStages - 1);
  }
  out[kThreads - 1 - i] = sum;
}

// out = from, and in the first half of each warp twice its neighbour's. The mistake: only the lanes
// that need the value take part in a shuffle of the whole warp.
template <bool kBug>
__global__ void divergence_kernel(const float* from, float* out) {
  const unsigned i = threadIdx.x;
  float value = from[i];
  if (kBug) {
    if (lane_index() < kWarpLanes / 2) value = 2.0f * __shfl_xor_sync(kAllLanes, value, 1);
  } else {
    const float neighbour = __shfl_xor_sync(kAllLanes, value, 1);
    if (lane_index() < kWarpLanes / 2) value = 2.0f * neighbour;
  }
  out[i] = value;
}

// out = from, by way of shared memory. The mistake: one element more than was asked for.
template <bool kBug>
__global__ void overrun_kernel(const float* from, float* out) {
  float* shared = shared_memory<float>();  // [kThreads]
  const unsigned i = threadIdx.x;
  shared[i + (kBug ? 1 : 0)] = from[i];
  __syncthreads();
  out[i] = shared[i];
}

Status launch_planted(const Queue& q, int which, bool bug, const float* from, float* out,
                      int tiles) {
  const std::size_t row = kThreads * sizeof(float);
  switch (which) {
    case 0:
      return launch(q, {"barrier", 1, kThreads, row},
                    bug ? barrier_kernel<true> : barrier_kernel<false>, from, out);
    case 1:
      return launch(q, {"pipeline", 1, kThreads, 3 * 4 * row},
                    bug ? pipeline_kernel<true> : pipeline_kernel<false>,
                    reinterpret_cast<const float4*>(from), reinterpret_cast<float4*>(out), tiles);
    case 2:
      return launch(q, {"divergence", 1, kThreads},
                    bug ? divergence_kernel<true> : divergence_kernel<false>, from, out);
    case 3:
      return launch(q, {"overrun", 1, kThreads, row},
                    bug ? overrun_kernel<true> : overrun_kernel<false>, from, out);
  }
  return {"there is no such kernel"};
}

}  // namespace
}  // namespace tinychat::cuda

using namespace tinychat::cuda;

// from [tiles, 128, 4], out [128, 4]; all but `pipeline` read and write the first 128 floats. The
// message lives until the next call.
EXPORTED const char* planted(const Queue* q, int which, bool bug, const float* from, float* out,
                             int tiles) {
  return message(launch_planted(*q, which, bug, from, out, tiles));
}
