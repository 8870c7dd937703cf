// sample: the next token, drawn by the rule of Ops.sample, and all that a decode step keeps of it.
//
//   logits [V] float32, V up to 262144; what changes from draw to draw lies on the card, so that a
//   captured launch serves every token: the rule, the uniform numbers, the ids seen, the counters
//
// Tokens are ranked: 32 bits that order as the penalized logit does, then the id, lower ones first.
// What top-k, top-p and min-p keep is the begin of that order, so each is no more than a limit on
// the mass, the smallest holds, and the draw is one more search for "the first token at which the
// sum exceeds a target".
//
// The weight of a token is exp2((logit - largest) log2(e) / T) in float32, the factor rounded once:
// off by some 1e-7 (1 + its exponent) of itself. It counts as a whole number of units, rounded
// down: the mass. The largest token's is the greatest power of two of which V fit into 63 bits.
// Sums of masses are exact, whatever the order: no atomic addition makes a draw depend on chance.
//
// Blocks of 1024 threads take 4096 tokens each, write their ranks' keys and note the largest token.
// The block that comes last finishes. Greedy, it is done. Otherwise:
//   1. One pass over the keys adds count and mass to 1023 bins, 16 a halving of the weight; what
//      lies beyond has no mass and is never looked at again.
//   2. A search scans the bins, one a thread, and one pass over the keys lists the tokens of the
//      right one. While there are more than 256, ten bits of the rank at a time make new bins (that
//      splits a list of equal logits, too); then each thread adds up what ranks before its own.
// There are as many searches as the rule has of top-k and top-p, and the draw.
//
// Bound: step 1 by the instructions of one SM (some 25 a token, atomics among them), the lists by
// its reads of L2: by count some 20 us for V = 128k, and 5 more a search; logits that are all equal
// take longer. To spread it: two launches, the first for the largest token, the second with bins in
// global memory, to which all blocks add; integers give the same draws. Not yet run on a card.
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/order.cuh"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kPack = 4;  // tokens of a thread, side by side
constexpr int kSlice = kThreads * kPack;
constexpr int kMostBlocks = kMostSampled / kSlice;

constexpr int kBins = kThreads;  // a power of two
constexpr int kLastBin = kBins - 1;
constexpr float kBinsAHalving = 16.0f;  // the last bin begins where even 2^63 units come to none
constexpr int kMassBits = 63;
constexpr int kFew = 256;

// The key in the upper bits, what is left to the greatest id in the lower ones.
using Rank = unsigned long long;
constexpr int kIdBits = 18;
constexpr int kRankBits = 50;
constexpr int kDigitBits = 10;  // log2 of kBins, and a divisor of kRankBits
static_assert(kMostSampled == 1 << kIdBits && kBins == 1 << kDigitBits);

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

// One block's shared memory.
struct Scratch {
  Histogram bins, digits;
  Rank few[kFew];
  Sum few_sums[kFew];
  Sum warp_sums[kWarps];
  Rank warp_tops[kWarps];
  Found found;
  Mass from_first;
  unsigned listed;
  unsigned last;  // of is_last_block
};

struct Workspace {
  unsigned* arrived;
  Rank* tops;      // of each block
  uint4* keys;     // of four tokens each; behind the last token zeros
  Rank* lists[2];  // [vocabulary] each
};

__host__ __device__ constexpr int quads_of(int vocabulary) { return ceil_div(vocabulary, kPack); }

constexpr std::size_t kKeysAt = (2 + kMostBlocks) * sizeof(Rank);  // in bytes, a multiple of 16

__device__ __forceinline__ Workspace divide_workspace(void* memory, int vocabulary) {
  auto* ranks = static_cast<Rank*>(memory);
  auto* keys = reinterpret_cast<uint4*>(static_cast<unsigned char*>(memory) + kKeysAt);
  auto* lists = reinterpret_cast<Rank*>(keys + quads_of(vocabulary));
  return {static_cast<unsigned*>(memory), ranks + 2, keys, {lists, lists + vocabulary}};
}

// --- over a warp and the block

__device__ __forceinline__ unsigned long long from_lane(unsigned long long value, int lane) {
  const unsigned low = __shfl_sync(kAllLanes, static_cast<unsigned>(value), lane);
  const unsigned high = __shfl_sync(kAllLanes, static_cast<unsigned>(value >> 32), lane);
  return static_cast<unsigned long long>(high) << 32 | low;
}
__device__ __forceinline__ Sum from_lane(Sum value, int lane) {
  return {from_lane(value.mass, lane), __shfl_sync(kAllLanes, value.count, lane)};
}

__device__ __forceinline__ Rank warp_top(Rank value) {
#pragma unroll
  for (int bit = kWarpLanes / 2; bit > 0; bit /= 2) {
    const Rank other = from_lane(value, lane_index() ^ bit);
    value = value < other ? other : value;
  }
  return value;
}

__device__ __forceinline__ Rank block_top(Rank value, Scratch& scratch) {
  value = warp_top(value);
  if (lane_index() == 0) scratch.warp_tops[warp_index()] = value;
  __syncthreads();
  return warp_top(scratch.warp_tops[lane_index()]);
}

// The sum of the lanes up to and with this one.
__device__ __forceinline__ Sum warp_scan(Sum value) {
#pragma unroll
  for (int by = 1; by < kWarpLanes; by *= 2) {
    const Sum other = from_lane(value, (lane_index() - by) & (kWarpLanes - 1));
    if (lane_index() >= by) value = value + other;
  }
  return value;
}

struct Scanned {
  Sum through;  // this thread
  Sum all;
};

// After the next barrier the scratch may be used again.
__device__ __forceinline__ Scanned block_scan(Sum value, Scratch& scratch) {
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
__device__ __forceinline__ Mass from_first_thread(Scratch& scratch, F f) {
  if (threadIdx.x == 0) scratch.from_first = f();
  __syncthreads();
  const Mass result = scratch.from_first;
  __syncthreads();
  return result;
}

// --- phase 1: the keys, by all blocks

__device__ __forceinline__ std::uint32_t penalized_key(const SampleArgs& args, int id) {
  float logit = args.logits[id];
  if (args.seen != nullptr && args.seen[id] != 0) {
    const float penalty = args.rule->repetition_penalty;
    logit = logit > 0.0f ? logit / penalty : logit * penalty;
  }
  return key_of_logit(logit);
}

// Writes the keys of this block's slice and its first token in rank.
__device__ __forceinline__ void write_keys(const SampleArgs& args, const Workspace& workspace,
                                           Scratch& scratch) {
  const int quad = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  Rank top = 0;
  std::uint32_t keys[kPack];
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const int id = quad * kPack + i;
    keys[i] = id < args.vocabulary ? penalized_key(args, id) : 0u;
    if (id >= args.vocabulary) continue;
    const Rank rank = rank_of(keys[i], id);
    top = rank > top ? rank : top;
  }
  if (quad < quads_of(args.vocabulary)) {
    workspace.keys[quad] = make_uint4(keys[0], keys[1], keys[2], keys[3]);
  }
  top = block_top(top, scratch);
  if (threadIdx.x == 0) workspace.tops[blockIdx.x] = top;
}

// The first of all tokens in rank.
__device__ __forceinline__ Rank first_token(const Workspace& workspace, Scratch& scratch) {
  const bool has = threadIdx.x < gridDim.x;
  return block_top(has ? workspace.tops[threadIdx.x] : 0, scratch);
}

// --- phase 2: the draw, by the last block

class Drawing {
 public:
  __device__ Drawing(const Workspace& workspace, int vocabulary, float one, Rank top,
                     float temperature, Scratch& scratch)
      : workspace_(workspace),
        quads_(quads_of(vocabulary)),
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

  // Step 1. Returns the sum of all tokens, those of the last bin left out, which have no mass.
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
    const Found bin = find_bin(scratch_.bins, target, by);
    const int chosen = static_cast<int>(bin.at);
    Sum before = bin.before;
    unsigned count = bin.own.count;
    for_tokens([&](std::uint32_t key, int id) {
      if (bin_at(halvings_below(key)) == chosen) list(workspace_.lists[0], rank_of(key, id));
    });
    __syncthreads();

    const Rank* from = workspace_.lists[0];
    Rank* to = workspace_.lists[1];
    for (int shift = kRankBits - kDigitBits; count > kFew; shift -= kDigitBits) {
      fill_digits(from, count, shift);
      const Found digit = find_bin(scratch_.digits, target - part(before, by), by);
      for_listed(from, count, [&](Rank rank) {
        if (digit_bin(rank, shift) == static_cast<int>(digit.at)) list(to, rank);
      });
      __syncthreads();
      before = before + digit.before;
      count = digit.own.count;
      const Rank* read = from;
      from = to;
      to = const_cast<Rank*>(read);
    }
    Found found = find_among_few(from, count, target - part(before, by), by);
    found.before = before + found.before;
    return found;
  }

 private:
  template <class F>
  __device__ __forceinline__ void for_tokens(F f) const {
#pragma unroll 2
    for (int quad = static_cast<int>(threadIdx.x); quad < quads_; quad += kThreads) {
      const uint4 keys = workspace_.keys[quad];
      f(keys.x, quad * kPack);
      f(keys.y, quad * kPack + 1);
      f(keys.z, quad * kPack + 2);
      f(keys.w, quad * kPack + 3);
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

  // The first bin at which the sum exceeds the target. Makes the next list begin.
  __device__ __forceinline__ Found find_bin(const Histogram& bins, Mass target, By by) {
    const Sum own = bin_of_thread(bins);
    const Sum through = block_scan(own, scratch_).through;
    note(threadIdx.x, through - own, own, target, by);
    if (threadIdx.x == 0) scratch_.listed = 0;
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

  // In any order.
  __device__ __forceinline__ void list(Rank* to, Rank rank) {
    to[atomicAdd(&scratch_.listed, 1u)] = rank;
  }

  const Workspace workspace_;
  const int quads_;
  const std::uint32_t top_key_;
  const float top_;
  const float one_;  // the mass of the largest token
  float halvings_;   // of the weight, for a step of 1 in the logit
  Scratch& scratch_;
};

// share of all, in [0, all - 1]: the largest number that sums up to the share do not exceed, or,
// where that is asked for, do not reach.
__device__ __forceinline__ Mass limit(double share, Mass all, bool reach) {
  const double exact = share * static_cast<double>(all);
  const auto floor_of = static_cast<Mass>(exact);
  const bool whole = static_cast<double>(floor_of) == exact;
  const Mass most = reach && whole && floor_of != 0 ? floor_of - 1 : floor_of;
  return most < all ? most : all - 1;
}

// The last block's part: the token by the rule.
__device__ __forceinline__ int choose(const SampleArgs& args, const Workspace& workspace, float one,
                                      Scratch& scratch) {
  const SampleRule rule = *args.rule;
  const Rank top = first_token(workspace, scratch);
  const bool greedy = !(rule.temperature > 0.0f) || key_of_rank(top) == kMinusInfinityKey;
  if (greedy) return id_of_rank(top);

  Drawing drawing(workspace, args.vocabulary, one, top, rule.temperature, scratch);
  const Sum all = drawing.fill_bins();
  Mass kept = all.mass;
  const auto keep_through = [&](Mass target, By by) {
    const Found last = drawing.first_beyond(target, by);
    kept = last.before.mass + last.own.mass;
  };
  // Where top_k reaches into what has no mass, all that has is kept.
  const auto top_k = static_cast<unsigned>(rule.top_k > 0 ? rule.top_k : args.vocabulary);
  if (top_k < all.count) keep_through(top_k - 1, By::kCount);
  if (rule.top_p < 1.0f) {
    const Mass target = from_first_thread(
        scratch, [&] { return limit(static_cast<double>(rule.top_p), kept, true); });
    keep_through(target, By::kMass);
  }
  if (rule.min_p > 0.0f) {
    const Mass above = drawing.mass_above(rule.min_p, rule.temperature);
    kept = above < kept ? above : kept;
  }
  const Mass target = from_first_thread(scratch, [&] {
    const unsigned place =
        static_cast<unsigned>(*args.draws.drawn) % static_cast<unsigned>(args.draws.uniform_count);
    return limit(args.draws.uniforms[place], kept, false);
  });
  return id_of_rank(drawing.first_beyond(target, By::kMass).at);
}

// One thread's: what the next step and the host read.
__device__ __forceinline__ void hand_over(const SampleArgs& args, int token) {
  const Draws& draws = args.draws;
  const auto drawn = static_cast<unsigned>(*draws.drawn);
  *args.token = token;
  if (args.seen != nullptr) args.seen[token] = 1;
  if (args.position != nullptr) *args.position += 1;
  draws.ring[drawn % static_cast<unsigned>(draws.ring_count)] = token;
  fence_system();
  *draws.drawn = static_cast<std::int32_t>(drawn + 1);
}

__global__ void __launch_bounds__(kThreads) sample_kernel(SampleArgs args, float one) {
  Scratch& scratch = *shared_memory<Scratch>();
  const Workspace workspace = divide_workspace(args.workspace, args.vocabulary);
  pdl_launch();
  pdl_wait();
  write_keys(args, workspace, scratch);
  if (!is_last_block(workspace.arrived, gridDim.x, &scratch.last)) return;
  const int token = choose(args, workspace, one, scratch);
  if (threadIdx.x == 0) hand_over(args, token);
}

}  // namespace

std::size_t sample_workspace(int vocabulary) {
  const auto tokens = static_cast<std::size_t>(vocabulary);
  const auto quads = static_cast<std::size_t>(quads_of(vocabulary));
  return kKeysAt + quads * sizeof(uint4) + 2 * tokens * sizeof(Rank);
}

Status sample(const Queue& queue, const SampleArgs& args) {
  if (args.vocabulary < 1 || args.vocabulary > kMostSampled) {
    return {"sample: a vocabulary of " + std::to_string(args.vocabulary) + ", expected 1 to " +
            std::to_string(kMostSampled)};
  }
  if (args.draws.uniform_count < 1 || args.draws.ring_count < 1) {
    return {"sample: " + std::to_string(args.draws.uniform_count) + " uniform numbers and " +
            std::to_string(args.draws.ring_count) + " places in the ring, expected 1 or more"};
  }
  int bits = kMassBits;
  while (args.vocabulary > 1 << (kMassBits - bits)) --bits;
  const auto one = static_cast<float>(Mass{1} << bits);
  const LaunchShape shape{"sample", static_cast<unsigned>(ceil_div(args.vocabulary, kSlice)),
                          kThreads, sizeof(Scratch)};
  return launch(queue, shape, sample_kernel, args, one);
}

}  // namespace tinychat::cuda
