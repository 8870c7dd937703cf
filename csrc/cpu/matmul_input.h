// A token on its way into a product: normalized, and its columns in the order of the weight's.
#pragma once

#include <algorithm>

#include "cpu/norm.h"
#include "cpu/ops.h"

namespace tinychat {

// What `input_row` needs of a thread's own memory.
inline std::size_t input_row_bytes(const MatmulArgs& args) {
  const std::size_t rows = (args.norm.weight != nullptr) + (args.order != nullptr);
  return round_up(rows * static_cast<std::size_t>(args.packing.cols) * sizeof(float), kLineBytes);
}

// The inputs [K] of a token as the weight meets them.
inline const float* input_row(const Isa& isa, const MatmulArgs& args, int token, std::byte* own) {
  const int cols = args.packing.cols;
  const float* x = args.x + static_cast<std::size_t>(token) * cols;
  float* row = reinterpret_cast<float*>(own);
  if (args.norm.weight != nullptr) {
    norm_row(isa, args.norm, x, row, cols);
    x = row;
    row += cols;
  }
  if (args.order != nullptr) {
    // An index outside of x reads its last column: the values were checked when the weight was
    // read, and what went wrong since must not become a read of foreign memory.
    const auto last = static_cast<std::uint32_t>(cols - 1);
    for (int k = 0; k < cols; ++k) {
      row[k] = x[std::min(static_cast<std::uint32_t>(args.order[k]), last)];
    }
    x = row;
  }
  return x;
}

}  // namespace tinychat
