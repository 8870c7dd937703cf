// The ops of the CUDA backend: arguments and the function that launches each. Pointers are to
// memory of the card; shapes, dtypes and contiguity are checked in Python.
#pragma once

#include <cstdint>

#include "cuda/queue.h"
#include "dtype.h"

namespace tinychat::cuda {

enum class NormKind { kRms, kLayer };

// How a row of C numbers is normalized.
struct RowNorm {
  NormKind kind;
  const float* weight;  // [C]
  const float* bias;    // [C] or null; of a layer norm alone
  float eps;
};

struct NormArgs {
  const float* x;  // [rows, cols]
  RowNorm norm;
  float* out;  // [rows, cols]
  int rows, cols;
};
Status norm(const Queue& queue, const NormArgs& args);

struct EmbeddingArgs {
  const std::int32_t* ids;  // [rows]
  const void* table;        // [vocabulary, cols]
  DType dtype;              // of the table: float32, float16 or bfloat16
  float* out;               // [rows, cols]
  int rows, cols, vocabulary;
};
Status embedding(const Queue& queue, const EmbeddingArgs& args);

}  // namespace tinychat::cuda
