// sample: the next token, drawn by the rule of Ops.sample, and all that a decode step keeps of it.
//
//   m[i] = floor(2^b exp2((logit[i] - largest) log2(e) / T)), M = the sum of the m that are kept
//   token = the first i in rank order whose m, summed through i, exceeds floor(u M)
//
//   logits [V] float32, V up to 524288; the rule, with T; seen [V] uint8 or none: whose logits are
//   penalized; uniforms [U] float64, of which u is number `drawn` modulo U
//   token [1] int32, also in ring [R] at `drawn` modulo R; drawn [1] and position [1] one more, and
//   seen of the token 1. All of it lies on the card, so that a captured launch serves every token.
//
// Rank order is that of the penalized logits from the largest on, of equal ones that of the ids; b
// is as large as sums of V tokens let it be. Greedy, or where nothing is above minus infinity, the
// token is the first in that order. What top-k, top-p and min-p keep is the begin of it, so each is
// no more than a limit on the mass, the smallest holds, and the draw is one more search for "the
// first token at which the sum exceeds a target" (sample_search.cuh).
//
// Blocks of 1024 threads take 4096 tokens each, write their ranks' keys and note the largest token.
// The block that comes last finishes. Greedy, it is done. Otherwise it fills bins with the masses
// of all tokens, and searches as often as the rule has of top-k and top-p, and for the draw.
//
// Bound: the bins by the instructions of one multiprocessor (some 25 a token, atomics among them),
// the lists by its reads of L2: by count some 20 us for V = 128k, and 5 more a search; logits that
// are all equal take longer. To spread it: two launches, the first for the largest token, the
// second with bins in global memory, to which all blocks add; integers give the same draws. Not yet
// run on a card.
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/order.cuh"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"
#include "cuda/sample_search.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kSlice = kThreads * kPack;
constexpr int kMostBlocks = kMostSampled / kSlice;
static_assert(kMostBlocks <= kThreads, "each block's first token has a thread");

// One block's shared memory.
struct Scratch {
  SearchScratch search;
  Rank warp_tops[kWarps];
  unsigned last;  // of is_last_block
};

struct Workspace {
  unsigned* arrived;
  Rank* tops;  // of each block
  Ranked tokens;
};

__host__ __device__ constexpr int fours_of(int vocabulary) { return ceil_div(vocabulary, kPack); }

constexpr std::size_t kKeysAt = (2 + kMostBlocks) * sizeof(Rank);  // in bytes
static_assert(kKeysAt % sizeof(uint4) == 0);

__device__ __forceinline__ Workspace divide_workspace(void* memory, int vocabulary) {
  auto* const ranks = static_cast<Rank*>(memory);
  auto* const keys = reinterpret_cast<uint4*>(static_cast<unsigned char*>(memory) + kKeysAt);
  const int fours = fours_of(vocabulary);
  auto* const lists = reinterpret_cast<Rank*>(keys + fours);
  return {static_cast<unsigned*>(memory), ranks + 2, {keys, fours, {lists, lists + vocabulary}}};
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
  const int four = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  Rank top = 0;
  std::uint32_t keys[kPack];
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const int id = four * kPack + i;
    keys[i] = id < args.vocabulary ? penalized_key(args, id) : 0u;
    if (id >= args.vocabulary) continue;
    const Rank rank = rank_of(keys[i], id);
    top = rank > top ? rank : top;
  }
  if (four < workspace.tokens.fours) {
    workspace.tokens.keys[four] = make_uint4(keys[0], keys[1], keys[2], keys[3]);
  }
  top = block_max<kWarps>(top, scratch.warp_tops);
  if (threadIdx.x == 0) workspace.tops[blockIdx.x] = top;
}

// The first of all tokens in rank.
__device__ __forceinline__ Rank first_token(const Workspace& workspace, Scratch& scratch) {
  const bool has = threadIdx.x < gridDim.x;
  return block_max<kWarps>(has ? workspace.tops[threadIdx.x] : Rank{0}, scratch.warp_tops);
}

// --- phase 2: the draw, by the last block

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

  Drawing drawing(workspace.tokens, one, top, rule.temperature, scratch.search);
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
        scratch.search, [&] { return limit(static_cast<double>(rule.top_p), kept, true); });
    keep_through(target, By::kMass);
  }
  if (rule.min_p > 0.0f) {
    const Mass above = drawing.mass_above(rule.min_p, rule.temperature);
    kept = above < kept ? above : kept;
  }
  const Mass target = from_first_thread(scratch.search, [&] {
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

// One block at a time will do: without the 1, ptxas spills to make two fit on sm_100.
__global__ void __launch_bounds__(kThreads, 1) sample_kernel(SampleArgs args, float one) {
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
  const auto fours = static_cast<std::size_t>(fours_of(vocabulary));
  return kKeysAt + fours * sizeof(uint4) + 2 * tokens * sizeof(Rank);
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
  static_assert(kIdBits < kMassBits);
  int bits = kMassBits;
  while (args.vocabulary > 1 << (kMassBits - bits)) --bits;
  const auto one = static_cast<float>(Mass{1} << bits);
  const LaunchShape shape{"sample", static_cast<unsigned>(ceil_div(args.vocabulary, kSlice)),
                          kThreads, sizeof(Scratch)};
  return launch(queue, shape, sample_kernel, args, one);
}

}  // namespace tinychat::cuda
