// The host twins of the wrappers in ptx.cuh, where each is described.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/emulation/half.h"
#include "cuda/emulation/names.h"

namespace tinychat::cuda {

template <int kTable>
std::uint32_t lop3(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result = 0;
  for (int row = 0; row < 8; ++row) {
    if ((kTable >> row & 1) == 0) continue;
    result |= ((row & 4) != 0 ? a : ~a) & ((row & 2) != 0 ? b : ~b) & ((row & 1) != 0 ? c : ~c);
  }
  return result;
}

// --- cp.async

namespace twin {

inline constexpr std::size_t kCopyBytes = 16;

inline void finish(const emulation::Copy& copy) {
  if (copy.from == nullptr) {
    std::memset(copy.to, 0, kCopyBytes);
  } else {
    std::memcpy(copy.to, copy.from, kCopyBytes);
  }
}

// Copies are done at the wait that asks for them: the latest moment that hardware may choose.
inline bool late_copies() {
  const emulation::Settings& settings = emulation::current->grid->settings();
  return settings.arch >= 800 && settings.late_copies != 0;
}

}  // namespace twin

inline void cp_async16(void* shared, const void* global, bool read = true) {
  emulation::require_shared(shared, twin::kCopyBytes, "cp_async16");
  emulation::require_aligned(shared, twin::kCopyBytes, "cp_async16");
  emulation::require_aligned(global, twin::kCopyBytes, "cp_async16");
  const emulation::Copy copy{shared, read ? global : nullptr};
  if (twin::late_copies()) {
    emulation::current->copies.push_back(copy);
  } else {
    twin::finish(copy);
  }
}

inline void cp_async_commit() {
  emulation::Thread& thread = *emulation::current;
  if (twin::late_copies()) thread.commits.push_back(thread.copies.size());
}

template <int kPending>
void cp_async_wait() {
  emulation::Thread& thread = *emulation::current;
  if (thread.commits.size() <= kPending) return;
  const std::size_t groups = thread.commits.size() - kPending;
  const std::size_t done = thread.commits[groups - 1];
  for (std::size_t i = 0; i < done; ++i) twin::finish(thread.copies[i]);
  thread.copies.erase(thread.copies.begin(),
                      thread.copies.begin() + static_cast<std::ptrdiff_t>(done));
  thread.commits.erase(thread.commits.begin(),
                       thread.commits.begin() + static_cast<std::ptrdiff_t>(groups));
  for (std::size_t& commit : thread.commits) commit -= done;
}

// --- tensor cores

namespace twin {

struct Ldmatrix {
  const void* row;
  std::uint32_t* out;
};

inline void ldmatrix_x4(std::uint32_t (&out)[4], const void* row, const emulation::Site& site) {
  constexpr std::size_t kRowBytes = 16;
  emulation::require_shared(row, kRowBytes, site.what);
  emulation::require_aligned(row, kRowBytes, site.what);
  Ldmatrix operands{row, out};
  emulation::of_warp(
      emulation::kFullWarp, operands, site, [](void* const all[emulation::kLanes], std::uint32_t) {
        std::uint16_t matrices[4][8][8];
        for (unsigned lane = 0; lane < emulation::kLanes; ++lane) {
          std::memcpy(matrices[lane / 8][lane % 8], static_cast<const Ldmatrix*>(all[lane])->row,
                      kRowBytes);
        }
        for (unsigned lane = 0; lane < emulation::kLanes; ++lane) {
          const unsigned group = lane / 4, pair = lane % 4 * 2;
          for (unsigned m = 0; m < 4; ++m) {
            const auto& matrix = matrices[m];
            const std::uint32_t low = matrix[group][pair], high = matrix[group][pair + 1];
            static_cast<const Ldmatrix*>(all[lane])->out[m] = low | high << 16;
          }
        }
      });
}

struct Mma {
  float* sum;
  const std::uint32_t *a, *b;
};

// Products and the sums of one step are exact in double or nearly so, and rounded once. Hardware
// keeps fewer bits of a sum: it cuts off what lies some 24 bits below the largest term.
inline void multiply_fragments(void* const all[emulation::kLanes], std::uint32_t) {
  double a[16][16], b[16][8], sum[16][8];
  const auto half = [](std::uint32_t pair, unsigned i) {
    return double{emulation::float_of_half(static_cast<std::uint16_t>(pair >> 16 * i))};
  };
  for (unsigned lane = 0; lane < emulation::kLanes; ++lane) {
    const Mma& own = *static_cast<const Mma*>(all[lane]);
    const unsigned group = lane / 4, pair = lane % 4 * 2;
    for (unsigned i = 0; i < 2; ++i) {
      for (unsigned r = 0; r < 4; ++r)
        a[group + r % 2 * 8][pair + r / 2 * 8 + i] = half(own.a[r], i);
      for (unsigned r = 0; r < 2; ++r) b[pair + r * 8 + i][group] = half(own.b[r], i);
      for (unsigned r = 0; r < 2; ++r) sum[group + r * 8][pair + i] = double{own.sum[2 * r + i]};
    }
  }
  // sm_75 takes two steps of eight.
  const unsigned step = emulation::current->grid->settings().arch >= 800 ? 16 : 8;
  for (unsigned first = 0; first < 16; first += step) {
    for (unsigned row = 0; row < 16; ++row) {
      for (unsigned k = first; k < first + step; ++k) {
        for (unsigned col = 0; col < 8; ++col) sum[row][col] += a[row][k] * b[k][col];
      }
      for (double& s : sum[row]) s = double{static_cast<float>(s)};
    }
  }
  for (unsigned lane = 0; lane < emulation::kLanes; ++lane) {
    const Mma& own = *static_cast<const Mma*>(all[lane]);
    const unsigned group = lane / 4, pair = lane % 4 * 2;
    for (unsigned i = 0; i < 4; ++i) {
      own.sum[i] = static_cast<float>(sum[group + i / 2 * 8][pair + i % 2]);
    }
  }
}

}  // namespace twin

inline void ldmatrix_x4(std::uint32_t (&out)[4], const void* row,
                        const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  twin::ldmatrix_x4(out, row, {"ldmatrix_x4", file, line});
}

inline void mma_m16n8k16(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  twin::Mma operands{sum, a, b};
  emulation::of_warp(emulation::kFullWarp, operands, {"mma_m16n8k16", file, line},
                     twin::multiply_fragments);
}

// --- memory

inline uint4 load_stream16(const void* global) {
  emulation::require_aligned(global, sizeof(uint4), "load_stream16");
  uint4 value;
  std::memcpy(&value, global, sizeof(value));
  return value;
}

inline unsigned fetch_add_acq_rel(unsigned* counter, unsigned by) { return atomicAdd(counter, by); }

inline void fence_system() {}

// --- programmatic dependent launch

inline void pdl_wait() {
  if (emulation::current->grid->settings().arch >= 900) {
    emulation::current->grid->wait_for_previous();
  }
}

// Launches that follow start as early as they can in any case.
inline void pdl_launch() {}

}  // namespace tinychat::cuda
