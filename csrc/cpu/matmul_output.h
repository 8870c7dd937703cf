// What becomes of the sums of a product, written once for every way that they are formed.
#pragma once

#include <cstring>

#include "cpu/ops.h"

namespace tinychat {

// Writes `n` outputs of a token, from `first` on.
//
// sums: those rows of the product, with their bias; ups: gated alone, the rows that they gate.
inline void write_outputs(const Isa& isa, const MatmulArgs& args, int token, int first, int n,
                          const float* sums, const float* ups) {
  float* out = args.out + static_cast<std::size_t>(token) * args.outputs() + first;
  if (args.gated) {
    isa.activate(args.gate, sums, ups, out, n);
  } else if (args.add) {
    for (int i = 0; i < n; ++i) out[i] += sums[i];
  } else {
    std::memcpy(out, sums, static_cast<std::size_t>(n) * sizeof(float));
  }
}

}  // namespace tinychat
