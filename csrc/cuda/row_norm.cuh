// The normalization of a row by one block, on its own or on the way into a product.
#pragma once

#include "cuda/elements.cuh"
#include "cuda/ops.h"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {

// What is subtracted from a row's elements, and what they are then multiplied by.
struct RowStatistics {
  float mean;
  float scale;
};

// Sums f over a row [cols], a thread's share of it at a time; the sum is the same bits in every
// thread of the block.
template <int kCount, int kThreads, class F>
__device__ __forceinline__ float row_sum(const float* x, int cols, float* scratch, F f) {
  float sum = 0.0f;
#pragma unroll 4  // left alone, the compiler takes all registers that a product has for loads
  for (int col = static_cast<int>(threadIdx.x) * kCount; col < cols; col += kThreads * kCount) {
    const Floats<kCount> values = load<kCount>(x + col);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += f(values.at[i]);
  }
  return block_sum<kThreads / kWarpLanes>(sum, scratch);
}

// By all kThreads threads of the block; `scratch` is shared memory, one float a warp, free again
// after the next barrier.
template <int kCount, int kThreads>
__device__ __forceinline__ RowStatistics measure_row(const float* x, const Norm& norm, int cols,
                                                     float* scratch) {
  const float count = static_cast<float>(cols);
  float mean = 0.0f;
  if (norm.kind == NormKind::kLayer) {
    mean = row_sum<kCount, kThreads>(x, cols, scratch, [](float v) { return v; }) / count;
    __syncthreads();  // before scratch is used again
  }
  const float squares = row_sum<kCount, kThreads>(
      x, cols, scratch, [mean](float v) { return (v - mean) * (v - mean); });
  return {mean, rsqrtf(squares / count + norm.eps)};
}

// The elements of a row from column `col` on, normalized.
template <int kCount>
__device__ __forceinline__ Floats<kCount> normalized(Floats<kCount> values, const Norm& norm,
                                                     const RowStatistics& statistics, int col) {
  const Floats<kCount> weights = load<kCount>(norm.weight + col);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values.at[i] = (values.at[i] - statistics.mean) * statistics.scale * weights.at[i];
  }
  if (norm.bias == nullptr) return values;
  const Floats<kCount> bias = load<kCount>(norm.bias + col);
#pragma unroll
  for (int i = 0; i < kCount; ++i) values.at[i] += bias.at[i];
  return values;
}

}  // namespace tinychat::cuda
