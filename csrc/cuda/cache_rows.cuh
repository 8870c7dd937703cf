// New heads on their way to attention and into the cache: normalized, turned to their position, and
// rounded to its rows as tinychat/kernels/rows.py has them. What could be rounded in two ways is spelled out, so that a
// row is the same bits whichever kernel appends it.
#pragma once

#include <type_traits>

#include "cuda/half.cuh"
#include "cuda/ops.h"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {

// The angles of one position.
struct Angles {
  const float* cos;  // [half]
  const float* sin;
  int half;
};

__device__ __forceinline__ Angles angles_at(const Rotation& rotation, int position) {
  const std::size_t first =
      static_cast<std::size_t>(position) * static_cast<std::size_t>(rotation.half);
  return {rotation.cos + first, rotation.sin + first, rotation.half};
}

// One head of one token, normalized where it has a weight for that.
struct Head {
  const float* x;       // [head_dim]
  const float* weight;  // [head_dim] or null
  float scale;          // where there is a weight

  __device__ __forceinline__ float at(int i) const {
    return weight == nullptr ? x[i] : x[i] * scale * weight[i];
  }
};

// Element i of a head, turned.
__device__ __forceinline__ float rotated(const Head& head, const Angles& angles, int i) {
  const int half = angles.half;
  if (i >= 2 * half) return head.at(i);
  const int pair = i < half ? i : i - half;
  const float a = head.at(pair), b = head.at(half + pair);
  const float c = angles.cos[pair], s = angles.sin[pair];
  return i < half ? fmaf(a, c, -(b * s)) : fmaf(b, c, a * s);
}

// The heads of one token in qkv: first those of q, then of k, then of v. All lanes of a warp ask
// for the same one.
__device__ __forceinline__ Head head_of(const NewTokens& tokens, int token, int head) {
  const std::size_t heads = static_cast<std::size_t>(tokens.heads + 2 * tokens.kv_heads);
  const std::size_t row = static_cast<std::size_t>(token) * heads + static_cast<std::size_t>(head);
  const int dim = tokens.head_dim;
  const float* x = tokens.qkv + row * static_cast<std::size_t>(dim);
  if (tokens.norm.q == nullptr || head >= tokens.heads + tokens.kv_heads) return {x, nullptr, 1.0f};
  float squares = 0.0f;
  for (int i = lane_index(); i < dim; i += kWarpLanes) squares = fmaf(x[i], x[i], squares);
  const float mean = warp_sum(squares) / static_cast<float>(dim);
  return {x, head < tokens.heads ? tokens.norm.q : tokens.norm.k, rsqrtf(mean + tokens.norm.eps)};
}

// Elements of a row of the cache.
template <class T>
__host__ __device__ constexpr int row_width(int head_dim) {
  constexpr bool kHasScale = std::is_same_v<T, std::int8_t>;
  return head_dim + (kHasScale ? static_cast<int>(sizeof(float)) : 0);
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
__device__ __forceinline__ void write_row(const Head& head, const Angles& angles, int dim,
                                          __half* out) {
  for (int i = lane_index(); i < dim; i += kWarpLanes) {
    out[i] = from_float<__half>(rotated(head, angles, i));
  }
}

// The largest magnitude becomes 127. Where a number is none, or infinite, the scale is NaN.
__device__ __forceinline__ void write_row(const Head& head, const Angles& angles, int dim,
                                          std::int8_t* out) {
  constexpr float kSmallestRange = 1e-30f;  // less is rounded to zeros, as on the CPU
  float largest = 0.0f, odd = 0.0f;
  for (int i = lane_index(); i < dim; i += kWarpLanes) {
    const float value = rotated(head, angles, i);
    largest = fmaxf(largest, fabsf(value));
    odd += value * 0.0f;  // NaN where the value is NaN or infinite
  }
  largest = warp_max(largest);
  odd = warp_sum(odd);
  const bool any = odd == 0.0f && largest > kSmallestRange;
  const float inverse = any ? 127.0f / largest : 0.0f;
  for (int i = lane_index(); i < dim; i += kWarpLanes) {
    const float code = any ? rintf(rotated(head, angles, i) * inverse) : 0.0f;
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

// The row of a new token's key, which is normalized and turned, or value; a warp writes it.
template <class T>
__device__ __forceinline__ void write_new_row(const NewTokens& tokens, const Rotation& rotation,
                                              int token, int kv_head, bool is_key, int position,
                                              T* out) {
  const int head = tokens.heads + kv_head + (is_key ? 0 : tokens.kv_heads);
  const Angles angles = is_key ? angles_at(rotation, position) : Angles{nullptr, nullptr, 0};
  write_row(head_of(tokens, token, head), angles, tokens.head_dim, out);
}

}  // namespace tinychat::cuda
