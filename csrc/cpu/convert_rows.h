// Rows of fp16, bf16, float32 or int8 to floats and back: the vector part of embedding and of the
// cache.
#pragma once

#include <cmath>

#include "cpu/simd.h"

namespace tinychat {
namespace {

template <class Element>
inline void read_elements(const void* x, float* out, int n) {
  const Element* elements = static_cast<const Element*>(x);
  for_vectors(n, [&](int i, int lanes) { store(out + i, load(elements + i, lanes), lanes); });
}

template <class Element>
inline void write_elements(const float* x, void* out, int n) {
  Element* elements = static_cast<Element*>(out);
  for_vectors(n, [&](int i, int lanes) { store(elements + i, load(x + i, lanes), lanes); });
}

// The scale of a row of n codes, which lies behind them.
inline float int8_scale(const Int8* codes, int n) {
  float scale;
  std::memcpy(&scale, codes + n, sizeof(scale));
  return scale;
}

inline void read_int8_row(const void* x, float* out, int n) {
  const Int8* codes = static_cast<const Int8*>(x);
  const float scale = int8_scale(codes, n);
  for_vectors(n, [&](int i, int lanes) { store(out + i, load(codes + i, lanes) * scale, lanes); });
}

// Rounded to the largest magnitude over 127; where a number is none, or infinite, all are NaN.
inline void write_int8_row(const float* x, void* out, int n) {
  auto* codes = static_cast<std::int8_t*>(out);
  float largest = 0.0f;
  bool finite = true;
  for (int i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    largest = size > largest ? size : largest;
    finite &= size < kInfinity;
  }
  const bool any = finite && largest > kSmallestRange;
  const float inverse = any ? 127.0f / largest : 0.0f;
  for (int i = 0; i < n; ++i) {
    codes[i] = any ? static_cast<std::int8_t>(std::nearbyint(x[i] * inverse)) : std::int8_t{0};
  }
  const float scale = finite ? (any ? largest / 127.0f : 0.0f) : __builtin_nanf("");
  std::memcpy(codes + n, &scale, sizeof(scale));
}

void read_row(DType dtype, const void* x, float* out, int n) {
  switch (dtype) {
    case DType::kFloat32:
      return read_elements<float>(x, out, n);
    case DType::kFloat16:
      return read_elements<Float16>(x, out, n);
    case DType::kBfloat16:
      return read_elements<Bfloat16>(x, out, n);
    case DType::kInt8:
      return read_int8_row(x, out, n);
  }
}

void write_row(DType dtype, const float* x, void* out, int n) {
  switch (dtype) {
    case DType::kFloat32:
      return write_elements<float>(x, out, n);
    case DType::kFloat16:
      return write_elements<Float16>(x, out, n);
    case DType::kBfloat16:
      return write_elements<Bfloat16>(x, out, n);
    case DType::kInt8:
      return write_int8_row(x, out, n);
  }
}

}  // namespace
}  // namespace tinychat
