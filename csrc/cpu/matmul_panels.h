// matmul of many tokens where an ISA multiplies panels: matrix units, whose tiles want whole bytes.
// The codes of a band of rows are unpacked once, a stretch of inputs at a time, and all tokens are
// multiplied by them while the nearest cache holds them.
//
// Vector units gain nothing by it: their kernels unpack in registers for less than panels cost to
// write and read (Zen 4: 190 instead of 200 GMAC/s a core; with AVX2 84 instead of 107).
#pragma once

#include "cpu/ops.h"

namespace tinychat {

// Whether a product is to go this way.
bool panels_pay(const Isa& isa, const MatmulArgs& args);

std::size_t panels_scratch_bytes(const MatmulArgs& args, int threads);
void multiply_panels(Team& team, const Isa& isa, const MatmulArgs& args);

}  // namespace tinychat
