// One row of either normalization.
#pragma once

#include "cpu/ops.h"

namespace tinychat {

inline void norm_row(const Isa& isa, const Norm& norm, const float* x, float* out, int n) {
  if (norm.kind == NormKind::kRms) {
    isa.rms_norm_row(x, norm.weight, out, n, norm.eps);
  } else {
    isa.layer_norm_row(x, norm.weight, norm.bias, out, n, norm.eps);
  }
}

}  // namespace tinychat
