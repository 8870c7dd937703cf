// The names that CUDA gives to every kernel, as the running emulated thread sees them.
//
// Left out on purpose, so that a kernel with it does not compile here: static __shared__ arrays,
// which could be neither poisoned nor watched for overruns (use shared_memory() of common.cuh);
// atomics on floats, whose sums would depend on the order of blocks; shuffles of less than a warp.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cuda/emulation/grid.h"
#include "cuda/emulation/types.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

#define threadIdx (::tinychat::emulation::current->index)
#define blockIdx (::tinychat::emulation::current->block->index)
#define blockDim (::tinychat::emulation::current->grid->launch().block)
#define gridDim (::tinychat::emulation::current->grid->launch().grid)

namespace tinychat::emulation {

inline constexpr std::uint32_t kFullWarp = 0xffffffffu;

// An operation of the lanes in `mask`. `combine` gets the operands of all lanes, those outside the
// mask undefined; it is called once, when all are there.
template <class Operands, class Combine>
void of_warp(std::uint32_t mask, Operands& operands, const Site& site, Combine combine) {
  using Function = void (*)(void* const[kLanes], std::uint32_t);
  static_assert(std::is_convertible_v<Combine, Function>);
  current->grid->collective(mask, &operands, combine, site);
}

template <class Function>
void for_lanes(std::uint32_t mask, Function f) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) != 0) f(lane);
  }
}

// Every lane gets the value of its source; bytes of ones where that lane takes no part.
template <class T>
T shuffle(std::uint32_t mask, T value, unsigned source, const Site& site) {
  static_assert(sizeof(T) == 4, "hardware moves registers of 32 bits");
  struct Operands {
    T value, result;
    unsigned source;
  } operands{value, value, source};
  of_warp(mask, operands, site, [](void* const all[kLanes], std::uint32_t lanes) {
    for_lanes(lanes, [&](unsigned lane) {
      auto& own = *static_cast<Operands*>(all[lane]);
      if ((lanes >> own.source & 1) != 0) {
        own.result = static_cast<const Operands*>(all[own.source])->value;
      } else {
        std::memset(&own.result, 0xff, sizeof(T));
      }
    });
  });
  return operands.result;
}

inline unsigned own_lane() { return current->number % kLanes; }

}  // namespace tinychat::emulation

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  tinychat::emulation::current->grid->barrier({"__syncthreads", file, line});
}

inline void __syncwarp(std::uint32_t mask = tinychat::emulation::kFullWarp,
                       const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  int nothing = 0;
  tinychat::emulation::of_warp(mask, nothing, {"__syncwarp", file, line},
                               [](void* const[], std::uint32_t) {});
}

template <class T>
T __shfl_sync(std::uint32_t mask, T value, int source, const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
  using namespace tinychat::emulation;
  return shuffle(mask, value, static_cast<unsigned>(source) % kLanes, {"__shfl_sync", file, line});
}

template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int bits, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  using namespace tinychat::emulation;
  const unsigned source = (own_lane() ^ static_cast<unsigned>(bits)) % kLanes;
  return shuffle(mask, value, source, {"__shfl_xor_sync", file, line});
}

template <class T>
T __shfl_down_sync(std::uint32_t mask, T value, unsigned by, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE()) {
  using namespace tinychat::emulation;
  const unsigned source = own_lane() + by < kLanes ? own_lane() + by : own_lane();
  return shuffle(mask, value, source, {"__shfl_down_sync", file, line});
}

inline std::uint32_t __ballot_sync(std::uint32_t mask, bool vote,
                                   const char* file = __builtin_FILE(),
                                   int line = __builtin_LINE()) {
  using namespace tinychat::emulation;
  struct Operands {
    std::uint32_t votes;
  } operands{vote ? 1u : 0u};
  of_warp(mask, operands, {"__ballot_sync", file, line},
          [](void* const all[kLanes], std::uint32_t lanes) {
            std::uint32_t votes = 0;
            for_lanes(lanes, [&](unsigned lane) {
              votes |= static_cast<const Operands*>(all[lane])->votes << lane;
            });
            for_lanes(lanes,
                      [&](unsigned lane) { static_cast<Operands*>(all[lane])->votes = votes; });
          });
  return operands.votes;
}

// Threads change only where they wait, so plain additions are atomic and memory is in order.
inline int atomicAdd(int* to, int by) { return std::exchange(*to, *to + by); }
inline unsigned atomicAdd(unsigned* to, unsigned by) { return std::exchange(*to, *to + by); }
inline unsigned long long atomicAdd(unsigned long long* to, unsigned long long by) {
  return std::exchange(*to, *to + by);
}
inline void __threadfence() {}

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
