// What parts of a softmax's keys gave, made one.
#pragma once

#include "cuda/reduce.cuh"

namespace tinychat::cuda {

// Behind the sums of a row that was gathered: the largest score, the sum of weights, two unused.
inline constexpr int kStateFloats = 4;

// A weight relative to that of the largest score. Scores are in units of log 2.
__device__ __forceinline__ float weight_of(float score, float largest) {
  return score == -INFINITY ? 0.0f : exp2f(score - largest);
}

// What `parts` parts have gathered for `rows` rows, brought to a common maximum and added up: part
// p of row r is at from + p part_stride + r row_stride. Hands each element to
// emit(row, d, sum, largest score, sum of weights). `scratch` is shared
// memory, free again after the next barrier: a float for every part and row, two for every row.
template <int kThreads, class Emit>
__device__ __forceinline__ void join(const float* from, int part_stride, int row_stride, int parts,
                                     int rows, int dim, float* scratch, Emit emit) {
  constexpr int kWarps = kThreads / kWarpLanes;
  float* factors = scratch;                // [rows, parts]
  float* states = scratch + rows * parts;  // [rows, 2]
  for (int row = warp_index(); row < rows; row += kWarps) {
    const float* state = from + row * row_stride + dim;
    float largest = -INFINITY, weights = 0.0f;
    for (int p = lane_index(); p < parts; p += kWarpLanes) {
      largest = fmaxf(largest, state[p * part_stride]);
    }
    largest = warp_max(largest);
    for (int p = lane_index(); p < parts; p += kWarpLanes) {
      const float factor = weight_of(state[p * part_stride], largest);
      factors[row * parts + p] = factor;
      weights += factor * state[p * part_stride + 1];
    }
    weights = warp_sum(weights);
    if (lane_index() == 0) {
      states[2 * row] = largest;
      states[2 * row + 1] = weights;
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rows * dim; i += kThreads) {
    const int row = i / dim, d = i % dim;
    const float* part = from + row * row_stride + d;
    float sum = 0.0f;
#pragma unroll 4
    for (int p = 0; p < parts; ++p) sum += factors[row * parts + p] * part[p * part_stride];
    emit(row, d, sum, states[2 * row], states[2 * row + 1]);
  }
}

}  // namespace tinychat::cuda
