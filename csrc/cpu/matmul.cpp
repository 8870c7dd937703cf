// matmul: round the activations to int8, then let the ISA's kernel for the weight's bits multiply
// them tile by tile. With one token the time is that of reading the weight once.
#include <algorithm>
#include <cstring>

#include "cpu/ops.h"

namespace tinychat {
namespace {

// Token tiles that share one visit to a tile of rows: enough to find its weights in the cache, few
// enough that their activations stay there too.
constexpr int kTokenTilesPerVisit = 8;

// Bytes of one rounded token: its codes, scales and sums.
std::size_t token_bytes(const Packing& packing) {
  return packing.padded_cols() + packing.groups() * (sizeof(float) + sizeof(std::int32_t));
}

// The tokens first..first+count-1 of a chunk, which lie as one TokenTile at their place in
// `memory`.
struct TileMemory {
  std::int8_t* codes;
  float* scales;
  std::int32_t* minus_sums;
  int tokens;

  TileMemory(std::byte* memory, const Packing& packing, int first, int count) : tokens(count) {
    const auto n = static_cast<std::size_t>(count);
    std::byte* start = memory + static_cast<std::size_t>(first) * token_bytes(packing);
    codes = reinterpret_cast<std::int8_t*>(start);
    scales = reinterpret_cast<float*>(start + n * packing.padded_cols());
    minus_sums = reinterpret_cast<std::int32_t*>(scales + n * packing.groups());
  }

  TokenTile tile() const { return {tokens, codes, scales, minus_sums}; }
};

// How a chunk of tokens is cut into tiles of nearly equal size.
struct TokenTiling {
  int tokens;
  int tiles;

  TokenTiling(int count, int max_tokens)
      : tokens(count), tiles((count + max_tokens - 1) / max_tokens) {}

  int first(int tile) const {
    return static_cast<int>(static_cast<std::int64_t>(tokens) * tile / tiles);
  }
  int count(int tile) const { return first(tile + 1) - first(tile); }
};

void quantize_token(const Isa& isa, const MatmulArgs& args, const TileMemory& to, int first,
                    int token) {
  const Packing& packing = args.packing;
  const float* x = args.x + static_cast<std::size_t>(first + token) * packing.cols;
  const std::size_t group = static_cast<std::size_t>(packing.group);
  const auto tokens = static_cast<std::size_t>(to.tokens);
  const auto at = static_cast<std::size_t>(token);
  for (std::size_t g = 0; g < packing.groups(); ++g) {
    const std::size_t begin = g * group;
    const int n = static_cast<int>(std::min(group, packing.cols - begin));
    to.scales[g * tokens + at] =
        isa.quantize_group(x + begin, n, packing.group, to.codes + begin * tokens + 4 * at,
                           4 * to.tokens, to.minus_sums + g * tokens + at);
  }
}

// Multiplies one tile of rows by one tile of tokens; the last tile may have fewer than 16 rows.
void multiply(MatmulKernel* kernel, const MatmulArgs& args, int row_tile, const TokenTile& x,
              int first) {
  const Packing& packing = args.packing;
  const int row = row_tile * kTileRows;
  const std::uint8_t* tile =
      args.weight + static_cast<std::size_t>(row_tile) * packing.tile_bytes();
  const std::size_t stride = static_cast<std::size_t>(packing.rows);
  const float* bias = args.bias == nullptr ? nullptr : args.bias + row;
  float* out = args.out + static_cast<std::size_t>(first) * stride + row;
  const int rows = std::min(kTileRows, packing.rows - row);
  if (rows == kTileRows) {
    kernel(packing, tile, x, bias, out, stride);
    return;
  }
  float padded_bias[kTileRows] = {};
  float padded_out[kMostTokens * kTileRows];
  const std::size_t row_bytes = static_cast<std::size_t>(rows) * sizeof(float);
  if (bias != nullptr) std::memcpy(padded_bias, bias, row_bytes);
  kernel(packing, tile, x, padded_bias, padded_out, kTileRows);
  for (int t = 0; t < x.tokens; ++t) {
    std::memcpy(out + static_cast<std::size_t>(t) * stride, padded_out + t * kTileRows, row_bytes);
  }
}

// Tiles of rows that are worth a visit to the shared counter: about a microsecond of reading.
int row_tiles_per_part(const Packing& packing) {
  constexpr std::size_t kPartBytes = 16 << 10;
  return static_cast<int>(std::max<std::size_t>(1, kPartBytes / packing.tile_bytes()));
}

void multiply_one(Team& team, const Isa& isa, MatmulKernel* kernel, const MatmulArgs& args) {
  std::byte* own = team.scratch() + static_cast<std::size_t>(team.rank) *
                                        round_up(token_bytes(args.packing), kLineBytes);
  const TileMemory memory(own, args.packing, 0, 1);
  bool rounded = false;
  team.for_each(static_cast<int>(args.packing.tiles()), row_tiles_per_part(args.packing),
                [&](Range part) {
                  // Each thread rounds the token for itself: that is cheaper than waiting for
                  // another's result.
                  if (!rounded) quantize_token(isa, args, memory, 0, 0);
                  rounded = true;
                  for (int tile = part.begin; tile < part.end; ++tile) {
                    multiply(kernel, args, tile, memory.tile(), 0);
                  }
                });
}

void multiply_many(Team& team, const Isa& isa, MatmulKernel* kernel, const MatmulArgs& args) {
  const TokenTiling tiling(args.tokens, isa.max_tokens);
  const auto memory = [&](int tile) {
    return TileMemory(team.scratch(), args.packing, tiling.first(tile), tiling.count(tile));
  };
  team.for_each(tiling.tiles, 1, [&](Range tiles) {
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
      for (int t = 0; t < tiling.count(tile); ++t) {
        quantize_token(isa, args, memory(tile), tiling.first(tile), t);
      }
    }
  });
  const int visits = (tiling.tiles + kTokenTilesPerVisit - 1) / kTokenTilesPerVisit;
  team.for_each(static_cast<int>(args.packing.tiles()) * visits, row_tiles_per_part(args.packing),
                [&](Range part) {
                  for (int item = part.begin; item < part.end; ++item) {
                    const int row_tile = item / visits;
                    const int begin = item % visits * kTokenTilesPerVisit;
                    const int end = std::min(tiling.tiles, begin + kTokenTilesPerVisit);
                    for (int tile = begin; tile < end; ++tile) {
                      multiply(kernel, args, row_tile, memory(tile).tile(), tiling.first(tile));
                    }
                  }
                });
}

}  // namespace

std::size_t matmul_scratch_bytes(const MatmulArgs& args, int threads) {
  const std::size_t bytes = token_bytes(args.packing);
  return args.tokens == 1 ? static_cast<std::size_t>(threads) * round_up(bytes, kLineBytes)
                          : static_cast<std::size_t>(args.tokens) * bytes;
}

void matmul(Team& team, const Isa& isa, const MatmulArgs& args) noexcept {
  MatmulKernel* kernel = isa.matmul[args.packing.bits];
  if (args.tokens == 1) {
    multiply_one(team, isa, kernel, args);
  } else {
    multiply_many(team, isa, kernel, args);
  }
}

}  // namespace tinychat
