// What the ops ask of the system's memory management.
#pragma once

#include <cstddef>

namespace tinychat {

inline constexpr int kPageBytes = 4096;

// Asks for large pages behind memory that is not written yet: streaming through it then misses the
// TLB less often. Advice only: where it is refused, nothing is lost but speed.
void prefer_large_pages(void* memory, std::size_t bytes);

}  // namespace tinychat
