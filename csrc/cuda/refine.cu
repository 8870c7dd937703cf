// refine: logits += x W^T in the outputs of those tiles of 16 that hold the largest logits.
//
//   logits [T, N] float32, x [T, K] float32, W [N, K] in the layout of tc16.h
//
// In each row those tiles with the largest maxima are refined, as many as are wanted, the first of
// equal ones; NaN counts as minus infinity. Where that is not all of them, there are two launches.
//
// refine_choose: block (b, t) of 32 warps finds the maxima of 256 tiles of row t, 16 lanes a tile,
// as whole numbers that are ordered like them. The last block of a row has all of these in
// registers, 8, 16 or 32 a thread (up to 131072, 262144 and 524288 outputs), finds the smallest of
// the wanted ones by asking, bit by bit from the top, how many reach it, and writes the numbers of
// the chosen tiles in their order. No atomics but the count of blocks.
//
// refine: block (b, t) of 8 warps adds to the chosen tiles 8b..8b+7 of row t, a warp a tile, all
// of its inputs; the activations are converted once for the eight. The product is gemv's
// (product.cuh). Tokens go their own ways, each as it would alone: they seldom choose alike.
//
// Bound: the logits from L2 and some 40 rounds over registers; then the chosen tiles' bytes from
// memory. Not yet run on a card; to be measured there: the rounds, and warps that share a tile
// where tiles are fewer than the warps of the card.
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/order.cuh"
#include "cuda/product.cuh"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {
namespace {

// --- which tiles

constexpr int kChooseWarps = 32;
constexpr int kChooseThreads = kChooseWarps * kWarpLanes;
constexpr int kTilesPerWarp = 8;
constexpr int kTilesPerBlock = kChooseWarps * kTilesPerWarp;
constexpr int kMostOwnKeys = kRefineOutputs / kTileRows / kChooseThreads;  // of a thread

// The keys of the warp's tiles to memory.
__device__ __forceinline__ void write_keys(const float* row, int outputs, int tiles,
                                           unsigned* keys) {
  const int half = lane_index() / kTileRows, place = lane_index() % kTileRows;
  const int first = static_cast<int>(blockIdx.x) * kTilesPerBlock + warp_index() * kTilesPerWarp;
  constexpr int kSteps = kTilesPerWarp / 2;
  std::uint32_t largest[kSteps];
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int output = (first + 2 * i + half) * kTileRows + place;
    largest[i] = output < outputs ? key_of_logit(row[output]) : 0u;
  }
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const std::uint32_t key = warp_max<kTileRows>(largest[i]);
    const int tile = first + 2 * i + half;
    if (place == 0 && tile < tiles) keys[tile] = key;
  }
}

// The keys of the tiles from a thread's first on, 0 behind the last tile.
template <int kKeys>
struct OwnKeys {
  std::uint32_t at[kKeys];
  static __device__ __forceinline__ int tile(int i) {
    return static_cast<int>(threadIdx.x) * kKeys + i;
  }
};
template <int kKeys>
__device__ __forceinline__ OwnKeys<kKeys> read_keys(const unsigned* keys, int tiles) {
  OwnKeys<kKeys> own;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) own.at[i] = own.tile(i) < tiles ? keys[own.tile(i)] : 0u;
  return own;
}

// How many of a thread's keys pass.
template <int kKeys, class F>
__device__ __forceinline__ unsigned count(const OwnKeys<kKeys>& own, F passes) {
  unsigned sum = 0;
#pragma unroll
  for (const std::uint32_t key : own.at) sum += passes(key) ? 1u : 0u;
  return sum;
}

// The key that `wanted` keys of the block reach, and not one more if that can be. `scratch` is two
// times [kChooseWarps], in turns, so that a round has one barrier.
template <int kKeys>
__device__ __forceinline__ std::uint32_t threshold(const OwnKeys<kKeys>& own, unsigned wanted,
                                                   unsigned* scratch) {
  std::uint32_t found = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const std::uint32_t tried = found | 1u << bit;
    const unsigned mine = count(own, [tried](std::uint32_t key) { return key >= tried; });
    const unsigned all = block_sum<kChooseWarps>(mine, scratch + bit % 2 * kChooseWarps);
    if (all >= wanted) found = tried;
    if (all == wanted) break;
  }
  return found;
}

// The sum over all threads before this one.
__device__ __forceinline__ unsigned sum_before(unsigned value, unsigned* scratch) {
  const unsigned inclusive = warp_scan(value);
  if (lane_index() == kWarpLanes - 1) scratch[warp_index()] = inclusive;
  __syncthreads();
  return warp_sum(lane_index() < warp_index() ? scratch[lane_index()] : 0u) + inclusive - value;
}

// Two counts of tiles in one word, which are added together.
static_assert(kRefineOutputs / kTileRows < 1 << 16, "a count of tiles fits half a word");
__device__ __forceinline__ unsigned packed(unsigned larger, unsigned equal) {
  return larger << 16 | equal;
}

// The numbers of the chosen tiles, in order.
template <int kKeys>
__device__ __forceinline__ void write_chosen(const OwnKeys<kKeys>& own, unsigned wanted,
                                             int* chosen, unsigned* scratch) {
  const std::uint32_t least = threshold(own, wanted, scratch);
  const unsigned larger = count(own, [least](std::uint32_t key) { return key > least; });
  const unsigned equal = count(own, [least](std::uint32_t key) { return key == least; });
  __syncthreads();  // before scratch is used again
  const unsigned all_larger = block_sum<kChooseWarps>(larger, scratch);
  const unsigned before = sum_before(packed(larger, equal), scratch + kChooseWarps);
  const unsigned equal_wanted = wanted - all_larger;
  const unsigned equal_before = before & 0xffffu;
  const unsigned equal_chosen = equal_before < equal_wanted ? equal_before : equal_wanted;
  unsigned place = (before >> 16) + equal_chosen, equal_left = equal_wanted - equal_chosen;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    const bool is_wanted_equal = own.at[i] == least && equal_left > 0;
    if (is_wanted_equal) --equal_left;
    if (own.at[i] > least || is_wanted_equal) chosen[place++] = own.tile(i);
  }
}

template <int kKeys>
__global__ void __launch_bounds__(kChooseThreads) refine_choose_kernel(RefineArgs args) {
  unsigned* scratch = shared_memory<unsigned>();  // [2, kChooseWarps], then the flag
  const int tiles = args.layout.tiles();
  const std::size_t token = blockIdx.y;
  unsigned* keys = args.keys + token * static_cast<std::size_t>(tiles);
  pdl_launch();
  pdl_wait();
  write_keys(args.logits + token * static_cast<std::size_t>(args.layout.rows), args.layout.rows,
             tiles, keys);
  if (!is_last_block(args.arrived + token, gridDim.x, scratch + 2 * kChooseWarps)) return;
  write_chosen(read_keys<kKeys>(keys, tiles), static_cast<unsigned>(args.wanted),
               args.chosen + token * static_cast<std::size_t>(args.wanted), scratch);
}

// --- their product

// By the lanes with column 0 of the sums, which is the only token.
__device__ __forceinline__ void add_to_logits(const GemvArgs& args, int tile,
                                              const float (&totals)[4]) {
  if (sum_col(0) != 0) return;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const int output = tile * kTileRows + sum_row(j);
    if (output < args.layout.rows) args.ending.out[output] += totals[j];
  }
}

// `chosen` is null where all tiles are wanted.
template <int kBits, int kGroup>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    refine_kernel(GemvArgs args, const int* chosen, int wanted, Slice slice, bool fours) {
  const Shared shared = shared_parts(slice);
  const std::size_t token = blockIdx.y;
  const int place = static_cast<int>(blockIdx.x) * kWarps + warp_index();
  args.x = token_row(args, static_cast<int>(token));
  args.ending.out += token * static_cast<std::size_t>(args.layout.rows);
  pdl_launch();
  pdl_wait();
  const bool busy = place < wanted;
  int tile = busy ? place : 0;
  if (busy && chosen != nullptr) {
    tile = chosen[token * static_cast<std::size_t>(wanted) + static_cast<std::size_t>(place)];
  }
  const TileAddress address[1] = {tile_address(args.weight, args.layout, tile)};
  float totals[1][4] = {};
  multiply_slices<1, kBits, kGroup>(args, slice, shared, fours, address, 0, busy, [] {}, totals);
  if (busy) add_to_logits(args, tile, totals[0]);
}

using Kernel = void (*)(GemvArgs, const int*, int, Slice, bool);

// A token's own, as gemv's: neither norm nor order, bias nor gate.
GemvArgs product_of(const RefineArgs& args) {
  GemvArgs product{};
  product.x = args.x;
  product.weight = args.weight;
  product.layout = args.layout;
  product.tokens = 1;
  product.ending.out = args.logits;
  return product;
}

Status choose_tiles(const Queue& queue, const RefineArgs& args) {
  const int blocks = ceil_div(args.layout.tiles(), kTilesPerBlock);
  const LaunchShape shape{"refine_choose",
                          dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(args.tokens)),
                          kChooseThreads, (2 * kChooseWarps + 1) * sizeof(unsigned)};
  // Those that no tile fills are counted, too, in every round.
  const int keys = ceil_div(args.layout.tiles(), kChooseThreads);
  static_assert(kMostOwnKeys == 32);
  const auto kernel = keys <= 8    ? refine_choose_kernel<8>
                      : keys <= 16 ? refine_choose_kernel<16>
                                   : refine_choose_kernel<kMostOwnKeys>;
  return launch(queue, shape, kernel, args);
}

Status add_products(const Queue& queue, const RefineArgs& args, const int* chosen, int wanted) {
  const GemvArgs product = product_of(args);
  const Kernel kernel = variant_of(args.layout, [](auto shape) -> Kernel {
    return refine_kernel<decltype(shape)::kCodeBits, decltype(shape)::kGroupInputs>;
  });
  const bool fours = can_load_fours(product.x, inputs_of(product));
  const Slice slice = choose_slice(product, 1);
  const int blocks = ceil_div(wanted, kWarps);
  const LaunchShape shape{"refine",
                          dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(args.tokens)),
                          kThreads, static_cast<std::size_t>(shared_bytes(slice, 1))};
  return launch(queue, shape, kernel, product, chosen, wanted, slice, fours);
}

}  // namespace

Status refine(const Queue& queue, const RefineArgs& args) {
  if (args.tokens == 0) return {};
  if (Status wrong = check_product("refine", args.layout, args.tokens); !wrong.error.empty()) {
    return wrong;
  }
  if (args.layout.rows > kRefineOutputs) {
    return {"refine: " + std::to_string(args.layout.rows) + " outputs; at most " +
            std::to_string(kRefineOutputs) + " are chosen from"};
  }
  const int tiles = args.layout.tiles();
  if (args.wanted >= tiles) return add_products(queue, args, nullptr, tiles);
  if (Status wrong = choose_tiles(queue, args); !wrong.error.empty()) return wrong;
  return add_products(queue, args, args.chosen, args.wanted);
}

}  // namespace tinychat::cuda
