// New heads on their way to attention and into the cache: normalized, turned to their position, and
// rounded to its rows as tinychat/kernels/rows.py has them. rope_append.cu has the formulas. What
// could be rounded in two ways is spelled out, so that a row is the same bits whichever kernel
// appends it.
#pragma once

#include <string>
#include <type_traits>

#include "cuda/half.cuh"
#include "cuda/ops.h"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {

// One head of one token: normalized where there is a weight for that, then turned.
struct Head {
  const float* x;       // [head_dim]
  const float* weight;  // [head_dim] or null
  float scale;          // where there is a weight
  const float* cos;     // [half]
  const float* sin;
  int half;  // 0: not turned

  __device__ __forceinline__ float at(int i) const {
    if (i >= 2 * half) return normalized(i);
    const int pair = i < half ? i : i - half;
    const float a = normalized(pair), b = normalized(half + pair);
    const float c = cos[pair], s = sin[pair];
    return i < half ? fmaf(a, c, -(b * s)) : fmaf(b, c, a * s);
  }

 private:
  __device__ __forceinline__ float normalized(int i) const {
    return weight == nullptr ? x[i] : x[i] * scale * weight[i];
  }
};

// A head of a token that stands at `position`. Its heads are numbered as qkv has them: those of q,
// then of k, then of v. All lanes of a warp ask for the same one, and measure it together.
__device__ __forceinline__ Head measure_head(const NewTokens& tokens, const Rotation& rotation,
                                             int token, int head, int position) {
  const std::size_t heads = static_cast<std::size_t>(tokens.heads + 2 * tokens.kv_heads);
  const std::size_t row = static_cast<std::size_t>(token) * heads + static_cast<std::size_t>(head);
  const int dim = tokens.head_dim;
  const float* x = tokens.qkv + row * static_cast<std::size_t>(dim);
  if (head >= tokens.heads + tokens.kv_heads) return {x, nullptr, 1.0f, nullptr, nullptr, 0};
  const std::size_t first =
      static_cast<std::size_t>(position) * static_cast<std::size_t>(rotation.half);
  Head found{x, nullptr, 1.0f, rotation.cos + first, rotation.sin + first, rotation.half};
  if (tokens.norm.q == nullptr) return found;
  float squares = 0.0f;
  for (int i = lane_index(); i < dim; i += kWarpLanes) squares = fmaf(x[i], x[i], squares);
  const float mean = warp_sum(squares) / static_cast<float>(dim);
  found.weight = head < tokens.heads ? tokens.norm.q : tokens.norm.k;
  found.scale = rsqrtf(mean + tokens.norm.eps);
  return found;
}

// Whether rows of the cache have a scale behind them.
template <class T>
inline constexpr bool kHasScale = std::is_same_v<T, std::int8_t>;

// Elements of a row of the cache.
template <class T>
__host__ __device__ constexpr int row_width(int head_dim) {
  return head_dim + (kHasScale<T> ? static_cast<int>(sizeof(float)) : 0);
}

// The host cannot check where a token stands.
__device__ __forceinline__ bool has_place(const Cache& cache, int position) {
  return position >= 0 && position < cache.capacity;
}

// Where a row of the keys or values of the cache is.
template <class T>
__device__ __forceinline__ T* cached_row(const Cache& cache, int head_dim, bool is_key, int kv_head,
                                         int position) {
  const std::size_t row =
      static_cast<std::size_t>(kv_head) * static_cast<std::size_t>(cache.capacity) +
      static_cast<std::size_t>(position);
  T* rows = static_cast<T*>(is_key ? cache.keys : cache.values);
  return rows + row * static_cast<std::size_t>(row_width<T>(head_dim));
}

// Writes a head as a row: a warp does, a lane every 32nd element.
__device__ __forceinline__ void write_row(const Head& head, int dim, __half* out) {
  for (int i = lane_index(); i < dim; i += kWarpLanes) out[i] = from_float<__half>(head.at(i));
}

// The largest magnitude becomes 127. Where a number is none, or infinite, the scale is NaN.
__device__ __forceinline__ void write_row(const Head& head, int dim, std::int8_t* out) {
  constexpr float kSmallestRange = 1e-30f;  // less is rounded to zeros, as on the CPU
  float largest = 0.0f, odd = 0.0f;
  for (int i = lane_index(); i < dim; i += kWarpLanes) {
    const float value = head.at(i);
    largest = fmaxf(largest, fabsf(value));
    odd += value * 0.0f;  // NaN where the value is NaN or infinite
  }
  largest = warp_max(largest);
  odd = warp_sum(odd);
  const bool any = odd == 0.0f && largest > kSmallestRange;
  const float inverse = any ? 127.0f / largest : 0.0f;
  for (int i = lane_index(); i < dim; i += kWarpLanes) {
    const float code = any ? rintf(head.at(i) * inverse) : 0.0f;
    out[i] = static_cast<std::int8_t>(static_cast<int>(code));
  }
  const float scale = any ? largest / 127.0f : odd;
  std::int8_t bytes[sizeof(scale)];  // a row begins anywhere
  memcpy(bytes, &scale, sizeof(scale));
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(scale)); ++i) {
    if (lane_index() == i) out[dim + i] = bytes[i];
  }
}

// launch(element of a row) for what the cache is made of.
template <class Launch>
Status for_rows_of(const Cache& cache, const char* op, Launch launch) {
  switch (cache.dtype) {
    case DType::kFloat16:
      return launch(__half{});
    case DType::kInt8:
      return launch(std::int8_t{});
    case DType::kFloat32:
    case DType::kBfloat16:
      break;
  }
  return {std::string(op) + ": the cache is neither float16 nor int8"};
}

}  // namespace tinychat::cuda
