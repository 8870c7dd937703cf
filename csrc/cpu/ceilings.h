// What a pool's threads together can do at most: the ceilings of decoding and of prefill.
#pragma once

#include <cstddef>

#include "cpu/ops.h"

namespace tinychat {

// The fastest of `repeats` reads of a buffer of that size, in GB/s.
double read_bandwidth(ThreadPool& pool, const Isa& isa, std::size_t bytes, int repeats);

// The fastest of `repeats` bursts of int8 products from registers, in 10^9 multiplications and
// additions a second.
double int8_rate(ThreadPool& pool, const Isa& isa, int repeats);

}  // namespace tinychat
