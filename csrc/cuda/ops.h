// The ops of the CUDA backend: arguments and the function that launches each. Pointers are to
// memory of the card; shapes, dtypes and contiguity are checked in Python.
#pragma once

#include <cstdint>

#include "cuda/queue.h"
#include "dtype.h"

namespace tinychat::cuda {

using Half = std::uint16_t;  // float16 as host code sees it

struct RmsNormArgs {
  float* x;             // [rows, cols] the residual stream, which gets the branch
  const Half* branch;   // [rows, cols], or null
  const float* weight;  // [cols]
  Half* out;            // [rows, cols]
  int rows, cols;
  float eps;
};
Status rms_norm(const Queue& queue, const RmsNormArgs& args);

struct EmbeddingArgs {
  const std::int32_t* ids;  // [rows]
  const void* table;        // [vocabulary, cols]
  DType dtype;              // of the table: float32, float16 or bfloat16
  float* out;               // [rows, cols]
  int rows, cols, vocabulary;
};
Status embedding(const Queue& queue, const EmbeddingArgs& args);

}  // namespace tinychat::cuda
