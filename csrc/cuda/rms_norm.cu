// rms_norm: x += branch; out = x / sqrt(mean(x^2) + eps) * weight.
//
//   x [T, C] float32, branch [T, C] float16 or none, weight [C] float32, out [T, C] float16
//
// One block of 256 threads a row; thread i takes elements 4i..4i+3 and every 1024th after them (one
// element, where rows do not divide into fours), once for the sum and once for the result. Its own
// part of x comes back out of L1 then.
//
// Bound: 10 bytes an element with a branch, 6 without; for a single row the two trips to memory one
// after the other, some microseconds. Decode does this inside gemv_w4; this is for prefill.
// Not yet run on a card.
#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;

// Adds the branch to this thread's elements of a row and returns the sum of their squares.
template <int kCount>
__device__ float add_branch(float* x, const __half* branch, int cols) {
  float squares = 0.0f;
  for (int col = static_cast<int>(threadIdx.x) * kCount; col < cols; col += kThreads * kCount) {
    Floats<kCount> values = load<kCount>(x + col);
    if (branch != nullptr) {
      const Floats<kCount> added = load<kCount>(branch + col);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values.at[i] += added.at[i];
      store(x + col, values);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) squares += values.at[i] * values.at[i];
  }
  return squares;
}

template <int kCount>
__device__ void write_scaled(__half* out, const float* x, const float* weight, float scale,
                             int cols) {
  for (int col = static_cast<int>(threadIdx.x) * kCount; col < cols; col += kThreads * kCount) {
    Floats<kCount> values = load<kCount>(x + col);
    const Floats<kCount> factors = load<kCount>(weight + col);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values.at[i] *= scale * factors.at[i];
    store(out + col, values);
  }
}

template <int kCount>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(float* x, const __half* branch, const float* weight, __half* out, int cols,
                    float eps) {
  float* scratch = shared_memory<float>();  // [kWarps]
  const std::size_t row = static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(cols);
  pdl_launch();
  pdl_wait();
  const float squares =
      add_branch<kCount>(x + row, branch == nullptr ? nullptr : branch + row, cols);
  const float mean = block_sum<kWarps>(squares, scratch) / static_cast<float>(cols);
  write_scaled<kCount>(out + row, x + row, weight, rsqrtf(mean + eps), cols);
}

}  // namespace

Status rms_norm(const Queue& queue, const RmsNormArgs& args) {
  if (args.rows == 0) return {};
  const bool fours = can_pack(args.x, args.cols, 4) && can_pack(args.branch, args.cols, 4) &&
                     can_pack(args.weight, args.cols, 4) && can_pack(args.out, args.cols, 4);
  const LaunchShape shape{"rms_norm", static_cast<unsigned>(args.rows), kThreads,
                          kWarps * sizeof(float)};
  return launch(queue, shape, fours ? rms_norm_kernel<4> : rms_norm_kernel<1>, args.x,
                reinterpret_cast<const __half*>(args.branch), args.weight,
                reinterpret_cast<__half*>(args.out), args.cols, args.eps);
}

}  // namespace tinychat::cuda
