// Large pages, where the system has them.
#include "cpu/memory.h"

#include <sys/mman.h>

#include <cstdint>

#include "w4.h"

namespace tinychat {

void prefer_large_pages(void* memory, std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const auto start = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t begin = start / kPageBytes * kPageBytes;
  const std::uintptr_t end = round_up(start + bytes, kPageBytes);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  static_cast<void>(memory);
  static_cast<void>(bytes);
#endif
}

}  // namespace tinychat
