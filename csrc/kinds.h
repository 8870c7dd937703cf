// What ops are told beside their arrays, alike for the CPU and for cards.
#pragma once

#include <cstddef>

namespace tinychat {

// How embedding tables and the cache keep their rows. A row of int8 has its scale behind it, a
// float32; only the cache has such rows.
enum class DType { kFloat32, kFloat16, kBfloat16, kInt8 };

constexpr std::size_t row_bytes(DType dtype, int n) {
  const auto elements = static_cast<std::size_t>(n);
  if (dtype == DType::kInt8) return elements + sizeof(float);
  return elements * (dtype == DType::kFloat32 ? 4 : 2);
}

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

enum class NormKind { kRms, kLayer };

// How a row of C numbers is normalized.
struct Norm {
  NormKind kind;
  const float* weight;  // [C]
  const float* bias;    // [C] or null; of a layer norm alone
  float eps;
};

// The rms norm of each head of q and of k, before they are turned to their positions.
struct QKNorm {
  const float* q;  // [head_dim], or null where there is none of either
  const float* k;  // [head_dim]
  float eps;
};

}  // namespace tinychat
