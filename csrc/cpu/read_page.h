// Reads one page of memory in the way that the matmul kernels read weights, and does nothing else
// with it. Only ISA files include this; it is compiled with their flags, for their widest loads.
#pragma once

#include <cstdint>

#include "cpu/ops.h"

namespace tinychat {
namespace {

std::uint64_t sum_page(const std::byte* page) {
  constexpr int kSums = kLineBytes / sizeof(std::uint64_t);
  constexpr int kStep = 4 * kLineBytes;
  std::uint64_t sums[kSums] = {};
  for (int step = 0; step < kPageBytes; step += kStep) {
    // As in matmul_simd.h: without it the ceiling would be below what is held against it.
    __builtin_prefetch(page + step + 2 * kPageBytes, 0, 2);
    for (int line = 0; line < kStep; line += kLineBytes) {
      std::uint64_t words[kSums];
      __builtin_memcpy(words, page + step + line, sizeof words);
      for (int i = 0; i < kSums; ++i) sums[i] += words[i];
    }
  }
  for (int i = 1; i < kSums; ++i) sums[0] += sums[i];
  return sums[0];
}

}  // namespace
}  // namespace tinychat
