// Large pages, where the system has them, and what becomes of freed memory.
#include "cpu/memory.h"

#include <sys/mman.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

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

void keep_freed_memory() {
#if defined(__GLIBC__)
  constexpr int kOwnMapping = 32 << 20;  // the most that glibc takes; weights are larger
  constexpr int kKept = 128 << 20;
  mallopt(M_MMAP_THRESHOLD, kOwnMapping);
  mallopt(M_TRIM_THRESHOLD, kKept);
#endif
}

}  // namespace tinychat
