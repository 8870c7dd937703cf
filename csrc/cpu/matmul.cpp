// matmul: normalize the tokens and round them to int8, multiply them by the weight, and do with the
// sums what is asked for.
//
// One token: the time is that of reading the weight once. More: a tile of rows meets one tile of
// tokens after the other while it is near; or, where an ISA has a kernel for panels, see
// matmul_panels.h. Sums are formed in the same order in every way: a token's result does not depend
// on how many come with it.
#include <algorithm>
#include <cstring>

#include "cpu/matmul_output.h"
#include "cpu/matmul_panels.h"
#include "cpu/ops.h"
#include "cpu/token_tiles.h"

namespace tinychat {
namespace {

// Products of a tile of tokens with 16 rows.
struct Sums {
  float rows[kMostTokens][kTileRows];
};

// Products of one tile of rows, bias included, to out[t * stride + r]; of the last tile's 16 rows
// some may be none of the weight's.
void multiply_tile(MatmulKernel* kernel, const MatmulArgs& args, int row_tile, const TokenTile& x,
                   float* out, std::size_t stride) {
  const Packing& packing = args.packing;
  const int row = row_tile * kTileRows;
  const std::uint8_t* tile =
      args.weight + static_cast<std::size_t>(row_tile) * packing.tile_bytes();
  const float* bias = args.bias == nullptr ? nullptr : args.bias + row;
  float padded_bias[kTileRows] = {};
  const int rows = packing.rows - row;
  if (bias != nullptr && rows < kTileRows) {
    std::memcpy(padded_bias, bias, static_cast<std::size_t>(rows) * sizeof(float));
    bias = padded_bias;
  }
  kernel(packing, tile, x, bias, out, stride);
}

// The same for 16 rows from any first one on.
void multiply_rows(MatmulKernel* kernel, const MatmulArgs& args, int first_row, const TokenTile& x,
                   Sums* sums) {
  const int tile = first_row / kTileRows;
  const int shift = first_row % kTileRows;
  multiply_tile(kernel, args, tile, x, sums->rows[0], kTileRows);
  if (shift == 0) return;
  Sums next = {};
  if (tile + 1 < static_cast<int>(args.packing.tiles())) {
    multiply_tile(kernel, args, tile + 1, x, next.rows[0], kTileRows);
  }
  for (int t = 0; t < x.tokens; ++t) {
    float* row = sums->rows[t];
    std::copy(row + shift, row + kTileRows, row);
    std::copy(next.rows[t], next.rows[t] + shift, row + kTileRows - shift);
  }
}

// Makes 16 outputs of a tile of tokens; the last ones may be fewer.
void make_outputs(const Isa& isa, MatmulKernel* kernel, const MatmulArgs& args, int output_tile,
                  const TokenTile& x, int first_token) {
  const int first = output_tile * kTileRows;
  const int n = std::min(kTileRows, args.outputs() - first);
  if (n == kTileRows && !args.gated && !args.add) {
    const auto stride = static_cast<std::size_t>(args.packing.rows);
    float* out = args.out + static_cast<std::size_t>(first_token) * stride + first;
    multiply_tile(kernel, args, output_tile, x, out, stride);
    return;
  }
  Sums sums, ups;
  multiply_tile(kernel, args, output_tile, x, sums.rows[0], kTileRows);
  if (args.gated) multiply_rows(kernel, args, args.outputs() + first, x, &ups);
  for (int t = 0; t < x.tokens; ++t) {
    write_outputs(isa, args, first_token + t, first, n, sums.rows[t], ups.rows[t]);
  }
}

int output_tiles(const MatmulArgs& args) {
  return static_cast<int>(ceil_div(static_cast<std::size_t>(args.outputs()), kTileRows));
}

int output_tiles_per_part(const MatmulArgs& args) {
  return tiles_per_part(args.packing.tile_bytes() * (args.gated ? 2 : 1));
}

void multiply_one(Team& team, const Isa& isa, MatmulKernel* kernel, const MatmulArgs& args) {
  const std::size_t codes = TokenTiles::bytes(args, TokenCodes::kByQuad);
  std::byte* own =
      team.scratch() + static_cast<std::size_t>(team.rank) * (codes + input_row_bytes(args));
  const TokenTiles token(own, own + codes, args, 1, TokenCodes::kByQuad);
  bool rounded = false;
  team.for_each(output_tiles(args), output_tiles_per_part(args), [&](Range part) {
    // Each thread normalizes and rounds the token for itself: that is cheaper than waiting for
    // another's result.
    if (!rounded) token.round_tile(isa, 0);
    rounded = true;
    for (int tile = part.begin; tile < part.end; ++tile) {
      make_outputs(isa, kernel, args, tile, token.tile(0), 0);
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
  std::byte* own = team.scratch() + TokenTiles::bytes(args, TokenCodes::kByQuad) +
                   static_cast<std::size_t>(team.rank) * input_row_bytes(args);
  const TokenTiles tokens(team.scratch(), own, args, isa.max_tokens, TokenCodes::kByQuad);
  tokens.round_all(team, isa);
  const int per_visit = token_tiles_per_visit(isa, args.packing);
  const int visits = (tokens.count() + per_visit - 1) / per_visit;
  const int tiles = output_tiles(args);
  team.for_each(tiles * visits, output_tiles_per_part(args), [&](Range part) {
    for (int item = part.begin; item < part.end; ++item) {
      const int begin = item / tiles * per_visit;
      const int end = std::min(tokens.count(), begin + per_visit);
      for (int i = begin; i < end; ++i) {
        make_outputs(isa, kernel, args, item % tiles, tokens.tile(i), tokens.first(i));
      }
    }
  });
}

}  // namespace

std::size_t matmul_scratch_bytes(const Isa& isa, const MatmulArgs& args, int threads) {
  if (panels_pay(isa, args)) return panels_scratch_bytes(args, threads);
  const std::size_t codes = TokenTiles::bytes(args, TokenCodes::kByQuad);
  const auto each = static_cast<std::size_t>(threads);
  return each * input_row_bytes(args) + (args.tokens == 1 ? each : 1) * codes;
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
