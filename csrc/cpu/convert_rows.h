// Rows of fp16, bf16 or float32 to floats and back: the vector part of embedding and of the cache.
#pragma once

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

void read_row(DType dtype, const void* x, float* out, int n) {
  switch (dtype) {
    case DType::kFloat32:
      return read_elements<float>(x, out, n);
    case DType::kFloat16:
      return read_elements<Float16>(x, out, n);
    case DType::kBfloat16:
      return read_elements<Bfloat16>(x, out, n);
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
  }
}

}  // namespace
}  // namespace tinychat
