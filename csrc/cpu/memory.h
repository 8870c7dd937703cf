// What the ops ask of the system's memory management.
#pragma once

#include <cstddef>

namespace tinychat {

inline constexpr int kPageBytes = 4096;

// Asks for large pages behind memory that is not written yet: streaming through it then misses the
// TLB less often. Advice only: where it is refused, nothing is lost but speed.
void prefer_large_pages(void* memory, std::size_t bytes);

// Lets the process keep some memory that it has freed. What the ops of a chunk of tokens give is
// megabytes that come and go: given back to the system each time, they would be cleared again, page
// by page, for the next op. For the whole process, and only with glibc.
void keep_freed_memory();

}  // namespace tinychat
