// halves: out = norm(x)[:, order] / factor as float16, a power of two for each row; factors.
//
//   x [T, K] float32, order [K] int32 or none, out [T, out_cols] float16 with zeros from column K
//   on, factors [T] float32
//
// The input of products of many tokens, here (gemm.cu) or by a library. A row's factor brings its
// largest magnitude to 2^exponent .. 2^(exponent + 1), so that nothing becomes infinite. With 14
// all but numbers below 2^-28 of the largest are rounded by at most 2^-11 of themselves, the others
// by 2^-39 of the largest; with an exponent less by e both bounds of the small ones are 2^e times
// as high. A library whose results are float16 wants a low exponent, for its sums to fit as well.
//
// One block of 256 threads a row: thread i takes elements 4i..4i+3 and every 1024th after them,
// once for each sum of the norm, for the largest, and for the result; from the second time on its
// own part of x comes out of L1. A row depends on no other.
//
// Bound: 6 bytes an element; for a few rows the trips to memory one after the other. Not yet run on
// a card.
#include "cuda/launch.h"
#include "cuda/operands.cuh"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_norm.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kStep = 4 * kThreads;

// The block's row, its inputs four at a time: normalized, in order, zeros from K on.
template <bool kFours>
struct Row {
  const float* x;
  Inputs inputs;
  RowStatistics statistics;

  __device__ __forceinline__ Floats<4> operator()(int k) const {
    Floats<4> values = load_inputs<kFours>(inputs, x, k);
    if (inputs.norm.weight != nullptr) normalize_inputs<kFours>(inputs, statistics, k, values);
    return values;
  }
};

// NaN does not count.
template <bool kFours>
__device__ __forceinline__ float largest_of(const Row<kFours>& row, float* scratch) {
  float largest = 0.0f;
  for (int k = static_cast<int>(threadIdx.x) * 4; k < row.inputs.cols; k += kStep) {
    const Floats<4> values = row(k);
#pragma unroll
    for (int i = 0; i < 4; ++i) largest = fmaxf(largest, fabsf(values.at[i]));
  }
  return block_max<kWarps>(largest, scratch);
}

template <bool kFours>
__device__ __forceinline__ void write_row(const Row<kFours>& row, float scale, __half* out,
                                          int out_cols) {
  for (int k = static_cast<int>(threadIdx.x) * 4; k < out_cols; k += kStep) {
    Floats<4> values = row(k);
#pragma unroll
    for (int i = 0; i < 4; ++i) values.at[i] *= scale;
    if constexpr (kFours) {
      store(out + k, values);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (k + i < out_cols) out[k + i] = from_float<__half>(values.at[i]);
      }
    }
  }
}

template <bool kFours>
__global__ void __launch_bounds__(kThreads) halves_kernel(HalvesArgs args) {
  float* const scratch = shared_memory<float>();  // [kWarps]
  const auto token = static_cast<std::size_t>(blockIdx.x);
  Row<kFours> row{
      args.x + token * static_cast<std::size_t>(args.cols), {args.norm, args.order, args.cols}, {}};
  pdl_launch();
  pdl_wait();
  if (args.norm.weight != nullptr) {
    row.statistics = measure_row<kFours ? 4 : 1, kThreads>(row.x, args.norm, args.cols, scratch);
    __syncthreads();  // before scratch is used again
  }
  const Scaling scaling =
      scaling_of(largest_of(row, scratch), static_cast<std::uint32_t>(args.exponent));
  if (threadIdx.x == 0) args.factors[token] = scaling.up;
  write_row(row, scaling.down,
            static_cast<__half*>(args.out) + token * static_cast<std::size_t>(args.out_cols),
            args.out_cols);
}

}  // namespace

Status halves(const Queue& queue, const HalvesArgs& args) {
  if (args.tokens == 0) return {};
  if (args.exponent < 0 || args.exponent > static_cast<int>(kMostTarget)) {
    return {"halves: exponent " + std::to_string(args.exponent) + "; 0 to " +
            std::to_string(kMostTarget) + " keep numbers in float16"};
  }
  if (args.out_cols < args.cols) {
    return {"halves: " + std::to_string(args.out_cols) + " columns for " +
            std::to_string(args.cols) + " inputs"};
  }
  const bool fours = can_load_fours(args.x, {args.norm, args.order, args.cols}) &&
                     can_pack(static_cast<const __half*>(args.out), args.out_cols, 4);
  const LaunchShape shape{"halves", static_cast<unsigned>(args.tokens), kThreads,
                          kWarps * sizeof(float)};
  return launch(queue, shape, fours ? halves_kernel<true> : halves_kernel<false>, args);
}

}  // namespace tinychat::cuda
