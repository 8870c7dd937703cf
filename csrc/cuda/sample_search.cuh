// The search for a token by sums: the first in rank order through which the count or the mass of
// the tokens exceeds a target. One block of 1024 threads does it; sample.cu says what for.
//
// Tokens are ranked: 32 bits that order as the penalized logit does, then the id, lower ones first.
//
// The weight of a token is exp2((logit - largest) log2(e) / T) in float32, the factor rounded once:
// off by some 1e-7 (1 + its exponent) of itself. It counts as a whole number of units, rounded
// down: the mass. The largest token's is the greatest power of two of which V fit into 63 bits.
// Sums of masses are exact, whatever the order: no atomic addition makes a draw depend on chance.
//
//   1. One pass over the keys adds count and mass to 1023 bins, 16 a halving of the weight; what
//      lies beyond has no mass and is never looked at again.
//   2. A search scans the bins, one a thread, and one pass over the keys lists the tokens of the
//      right one. While there are more than 256, ten bits of the rank at a time make new bins (that
//      splits a list of equal logits, too; what the last bits alone tell apart is few enough); then
//      each thread adds up what ranks before its own.
#pragma once

#include "cuda/common.cuh"
#include "cuda/ops.h"
#include "cuda/order.cuh"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kPack = 4;  // tokens of a thread, side by side

constexpr int kBins = kThreads;  // a power of two
constexpr int kLastBin = kBins - 1;
constexpr float kBinsAHalving = 16.0f;  // the last bin begins where even 2^63 units come to none
constexpr int kMassBits = 63;
constexpr int kFew = 256;

// The key in the upper bits, what is left to the greatest id in the lower ones.
using Rank = unsigned long long;
constexpr int kIdBits = 19;
constexpr int kRankBits = 32 + kIdBits;
constexpr int kDigitBits = 10;
static_assert(kMostSampled == 1 << kIdBits && kBins == 1 << kDigitBits);
static_assert(1 << kRankBits % kDigitBits <= kFew, "what all digits leave alike is few");

__device__ __forceinline__ Rank rank_of(std::uint32_t key, int id) {
  return static_cast<Rank>(key) << kIdBits | static_cast<Rank>(kMostSampled - 1 - id);
}
__device__ __forceinline__ std::uint32_t key_of_rank(Rank rank) {
  return static_cast<std::uint32_t>(rank >> kIdBits);
}
__device__ __forceinline__ int id_of_rank(Rank rank) {
  return kMostSampled - 1 - static_cast<int>(rank & (kMostSampled - 1));
}

using Mass = unsigned long long;

// Of some tokens.
struct Sum {
  Mass mass;
  unsigned count;
};
__device__ __forceinline__ Sum operator+(Sum a, Sum b) {
  return {a.mass + b.mass, a.count + b.count};
}
__device__ __forceinline__ Sum operator-(Sum a, Sum b) {
  return {a.mass - b.mass, a.count - b.count};
}

enum class By { kCount, kMass };
__device__ __forceinline__ Mass part(Sum sum, By by) {
  return by == By::kMass ? sum.mass : sum.count;
}

struct Histogram {
  Mass mass[kBins];
  unsigned count[kBins];
};

// Where a search arrived: a bin, or a token by its rank.
struct Found {
  Rank at;
  Sum before, own;
};

// What is searched, in global memory.
struct Ranked {
  uint4* keys;     // of four tokens each; behind the last token zeros
  int fours;       // of tokens, the last filled up
  Rank* lists[2];  // [vocabulary] each
};

// What a search has in shared memory.
struct SearchScratch {
  Histogram bins, digits;
  Rank few[kFew];
  Sum few_sums[kFew];
  Sum warp_sums[kWarps];
  Found found;
  Mass from_first;
  unsigned listed;
};

// --- over a warp and the block

__device__ __forceinline__ Sum from_lane(Sum value, int lane) {
  return {cuda::from_lane(value.mass, lane), cuda::from_lane(value.count, lane)};
}

struct Scanned {
  Sum through;  // this thread
  Sum all;
};

// After the next barrier the scratch may be used again.
__device__ __forceinline__ Scanned block_scan(Sum value, SearchScratch& scratch) {
  const Sum in_warp = warp_scan(value);
  if (lane_index() == kWarpLanes - 1) scratch.warp_sums[warp_index()] = in_warp;
  __syncthreads();
  const Sum warp_sum = scratch.warp_sums[lane_index()];
  const Sum warps = warp_scan(warp_sum);
  const Sum before = from_lane(warps - warp_sum, warp_index());
  return {before + in_warp, from_lane(warps, kWarpLanes - 1)};
}

// What thread 0 makes of f(): double is slow on most cards, and takes its time for each thread.
template <class F>
__device__ __forceinline__ Mass from_first_thread(SearchScratch& scratch, F f) {
  if (threadIdx.x == 0) scratch.from_first = f();
  __syncthreads();
  const Mass result = scratch.from_first;
  __syncthreads();
  return result;
}

// --- the searches

// Those of one draw; the whole block makes each call.
class Drawing {
 public:
  __device__ Drawing(const Ranked& tokens, float one, Rank top, float temperature,
                     SearchScratch& scratch)
      : tokens_(tokens),
        top_key_(key_of_rank(top)),
        top_(value_of(top_key_)),
        one_(one),
        scratch_(scratch) {
    constexpr double kLog2e = 1.4426950408889634;
    const Mass bits = from_first_thread(scratch_, [=] {
      return static_cast<Mass>(
          __float_as_uint(static_cast<float>(kLog2e / static_cast<double>(temperature))));
    });
    halvings_ = __uint_as_float(static_cast<unsigned>(bits));
  }

  // Step 1: returns the sum of all tokens, those of the last bin left out, which have no mass.
  __device__ Sum fill_bins() {
    clear(scratch_.bins);
    __syncthreads();
    for_tokens([&](std::uint32_t key, int) {
      const float halvings = halvings_below(key);
      const int bin = bin_at(halvings);
      if (bin < kLastBin) add(scratch_.bins, bin, mass_at(halvings));
    });
    __syncthreads();
    const Sum all = block_scan(bin_of_thread(scratch_.bins), scratch_).all;
    __syncthreads();
    return all;
  }

  // The mass of the tokens whose weight is at least min_p of the largest.
  __device__ Mass mass_above(float min_p, float temperature) {
    const auto least = static_cast<std::uint32_t>(from_first_thread(scratch_, [=] {
      // The smallest float32 that is not below the bound. Where min_p is 1, that is the largest
      // logit itself.
      const double bound = static_cast<double>(top_) +
                           static_cast<double>(temperature) * log(static_cast<double>(min_p));
      const auto near = static_cast<float>(bound);
      const std::uint32_t key = key_of(near + 0.0f);
      return static_cast<Mass>(static_cast<double>(near) < bound ? key + 1 : key);
    }));
    Sum own{0, 0};
    for_tokens([&](std::uint32_t key, int) {
      if (key >= least) own.mass += mass_at(halvings_below(key));
    });
    const Sum all = block_scan(own, scratch_).all;
    __syncthreads();
    return all.mass;
  }

  // Step 2: the first token at which the sum exceeds the target, which the sum of all does.
  __device__ Found first_beyond(Mass target, By by) {
    begin_list();
    const Found bin = find_bin(scratch_.bins, target, by);
    const int chosen = static_cast<int>(bin.at);
    Sum before = bin.before;
    unsigned count = bin.own.count;
    for_tokens([&](std::uint32_t key, int id) {
      if (bin_at(halvings_below(key)) == chosen) list(tokens_.lists[0], rank_of(key, id));
    });
    __syncthreads();

    Rank* from = tokens_.lists[0];
    Rank* to = tokens_.lists[1];
    for (int shift = kRankBits - kDigitBits; count > kFew; shift -= kDigitBits) {
      begin_list();
      fill_digits(from, count, shift);
      const Found digit = find_bin(scratch_.digits, target - part(before, by), by);
      for_listed(from, count, [&](Rank rank) {
        if (digit_bin(rank, shift) == static_cast<int>(digit.at)) list(to, rank);
      });
      __syncthreads();
      before = before + digit.before;
      count = digit.own.count;
      Rank* const read = from;
      from = to;
      to = read;
    }
    Found found = find_among_few(from, count, target - part(before, by), by);
    found.before = before + found.before;
    return found;
  }

 private:
  template <class F>
  __device__ __forceinline__ void for_tokens(F f) const {
#pragma unroll 2
    for (int four = static_cast<int>(threadIdx.x); four < tokens_.fours; four += kThreads) {
      const uint4 keys = tokens_.keys[four];
      f(keys.x, four * kPack);
      f(keys.y, four * kPack + 1);
      f(keys.z, four * kPack + 2);
      f(keys.w, four * kPack + 3);
    }
  }

  template <class F>
  __device__ __forceinline__ void for_listed(const Rank* list, unsigned count, F f) const {
    for (unsigned i = threadIdx.x; i < count; i += kThreads) f(list[i]);
  }

  // How often the weight is halved from the largest token to this one; it never shrinks from one
  // rank to the next. NaN behind the last token.
  __device__ __forceinline__ float halvings_below(std::uint32_t key) const {
    return key == top_key_ ? 0.0f : (top_ - value_of(key)) * halvings_;
  }

  static __device__ __forceinline__ int bin_at(float halvings) {
    const float place = halvings * kBinsAHalving;
    return place < static_cast<float>(kLastBin) ? static_cast<int>(place) : kLastBin;
  }

  __device__ __forceinline__ Mass mass_at(float halvings) const {
    return static_cast<Mass>(exp2f(-halvings) * one_);
  }

  static __device__ __forceinline__ int digit_bin(Rank rank, int shift) {
    return kLastBin - static_cast<int>(rank >> shift & kLastBin);
  }

  static __device__ __forceinline__ void clear(Histogram& bins) {
    bins.mass[threadIdx.x] = 0;
    bins.count[threadIdx.x] = 0;
  }

  static __device__ __forceinline__ void add(Histogram& bins, int bin, Mass mass) {
    atomicAdd(&bins.count[bin], 1u);
    if (mass != 0) atomicAdd(&bins.mass[bin], mass);
  }

  static __device__ __forceinline__ Sum bin_of_thread(const Histogram& bins) {
    return {bins.mass[threadIdx.x], bins.count[threadIdx.x]};
  }

  __device__ __forceinline__ void fill_digits(const Rank* list, unsigned count, int shift) {
    clear(scratch_.digits);
    __syncthreads();
    for_listed(list, count, [&](Rank rank) {
      const Mass mass = mass_at(halvings_below(key_of_rank(rank)));
      add(scratch_.digits, digit_bin(rank, shift), mass);
    });
    __syncthreads();
  }

  // The first bin at which the sum exceeds the target.
  __device__ __forceinline__ Found find_bin(const Histogram& bins, Mass target, By by) {
    const Sum own = bin_of_thread(bins);
    const Sum through = block_scan(own, scratch_).through;
    note(threadIdx.x, through - own, own, target, by);
    __syncthreads();
    return scratch_.found;
  }

  // Each thread adds up what ranks before its own token.
  __device__ __forceinline__ Found find_among_few(const Rank* list, unsigned count, Mass target,
                                                  By by) {
    const unsigned i = threadIdx.x;
    if (i < count) {
      scratch_.few[i] = list[i];
      scratch_.few_sums[i] = {mass_at(halvings_below(key_of_rank(list[i]))), 1u};
    }
    __syncthreads();
    if (i < count) {
      Sum before{0, 0};
      for (unsigned other = 0; other < count; ++other) {
        if (scratch_.few[other] > scratch_.few[i]) before = before + scratch_.few_sums[other];
      }
      note(scratch_.few[i], before, scratch_.few_sums[i], target, by);
    }
    __syncthreads();
    const Found found = scratch_.found;
    __syncthreads();
    return found;
  }

  // One thread of a search is where the sum passes its target.
  __device__ __forceinline__ void note(Rank at, Sum before, Sum own, Mass target, By by) {
    if (part(before, by) <= target && target < part(before + own, by)) {
      scratch_.found = {at, before, own};
    }
  }

  // Empties the list; between the barriers behind the last one and before the next one.
  __device__ __forceinline__ void begin_list() {
    if (threadIdx.x == 0) scratch_.listed = 0;
  }

  // In any order.
  __device__ __forceinline__ void list(Rank* to, Rank rank) {
    to[atomicAdd(&scratch_.listed, 1u)] = rank;
  }

  const Ranked tokens_;
  const std::uint32_t top_key_;
  const float top_;
  const float one_;  // the mass of the largest token
  float halvings_;   // of the weight, for a step of 1 in the logit
  SearchScratch& scratch_;
};

}  // namespace tinychat::cuda
