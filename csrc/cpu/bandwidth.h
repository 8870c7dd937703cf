// The ceiling of decoding: how fast a pool's threads together read memory.
#pragma once

#include <cstddef>

#include "cpu/ops.h"

namespace tinychat {

// The fastest of `repeats` reads of a buffer of that size, in GB/s.
double read_bandwidth(ThreadPool& pool, const Isa& isa, std::size_t bytes, int repeats);

}  // namespace tinychat
