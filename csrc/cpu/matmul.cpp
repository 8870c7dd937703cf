// matmul: round the activations to int8, then multiply them by the weight.
//
// One token: the time is that of reading the weight once. More: a tile of rows meets one tile of
// tokens after the other while it is near; or, where an ISA has a kernel for panels, see
// matmul_panels.h. Sums are formed in the same order in every way: a token's result does not depend
// on how many come with it.
#include <algorithm>
#include <cstring>

#include "cpu/matmul_panels.h"
#include "cpu/ops.h"
#include "cpu/token_tiles.h"

namespace tinychat {
namespace {

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
  const std::size_t own = TokenTiles::bytes(args, TokenCodes::kByQuad);
  const TokenTiles token(team.scratch() + static_cast<std::size_t>(team.rank) * own, args, 1,
                         TokenCodes::kByQuad);
  bool rounded = false;
  team.for_each(static_cast<int>(args.packing.tiles()), row_tiles_per_part(args.packing),
                [&](Range part) {
                  // Each thread rounds the token for itself: that is cheaper than waiting for
                  // another's result.
                  if (!rounded) token.round_tile(isa, 0);
                  rounded = true;
                  for (int tile = part.begin; tile < part.end; ++tile) {
                    multiply(kernel, args, tile, token.tile(0), 0);
                  }
                });
}

// Tiles of tokens that share a visit to a tile of rows: as many as the second cache holds, so that
// the weight is read from memory once, or few times.
int token_tiles_per_visit(const Isa& isa, const Packing& packing) {
  constexpr std::size_t kVisitBytes = 512 << 10;
  const std::size_t tile = static_cast<std::size_t>(isa.max_tokens) * packing.padded_cols();
  return static_cast<int>(std::max<std::size_t>(1, kVisitBytes / tile));
}

void multiply_some(Team& team, const Isa& isa, MatmulKernel* kernel, const MatmulArgs& args) {
  const TokenTiles tokens(team.scratch(), args, isa.max_tokens, TokenCodes::kByQuad);
  tokens.round_all(team, isa);
  const int per_visit = token_tiles_per_visit(isa, args.packing);
  const int visits = (tokens.count() + per_visit - 1) / per_visit;
  const int row_tiles = static_cast<int>(args.packing.tiles());
  team.for_each(row_tiles * visits, row_tiles_per_part(args.packing), [&](Range part) {
    for (int item = part.begin; item < part.end; ++item) {
      const int begin = item / row_tiles * per_visit;
      const int end = std::min(tokens.count(), begin + per_visit);
      for (int tile = begin; tile < end; ++tile) {
        multiply(kernel, args, item % row_tiles, tokens.tile(tile), tokens.first(tile));
      }
    }
  });
}

}  // namespace

std::size_t matmul_scratch_bytes(const Isa& isa, const MatmulArgs& args, int threads) {
  if (args.tokens == 1) {
    const std::size_t own = TokenTiles::bytes(args, TokenCodes::kByQuad);
    return static_cast<std::size_t>(threads) * own;
  }
  if (panels_pay(isa, args)) return panels_scratch_bytes(args, threads);
  return TokenTiles::bytes(args, TokenCodes::kByQuad);
}

void matmul(Team& team, const Isa& isa, const MatmulArgs& args) noexcept {
  MatmulKernel* kernel = isa.matmul[args.packing.bits];
  if (args.tokens == 1) {
    multiply_one(team, isa, kernel, args);
  } else if (panels_pay(isa, args)) {
    multiply_panels(team, isa, args);
  } else {
    multiply_some(team, isa, kernel, args);
  }
}

}  // namespace tinychat
