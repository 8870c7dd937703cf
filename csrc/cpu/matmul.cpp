// matmul: round the activations to int8, then multiply them by the weight.
//
// A few tokens: the time is that of reading the weight once, so its codes go from memory through
// registers into the products. Many tokens: the time is that of the products, so codes are unpacked
// once into panels that the nearest cache holds. Sums are formed in the same order either way: a
// token's result does not depend on how many come with it.
#include <algorithm>
#include <cstring>

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
  std::byte* own = team.scratch() + static_cast<std::size_t>(team.rank) *
                                        round_up(token_bytes(args.packing), kLineBytes);
  const TileMemory memory(own, args.packing, 0, 1);
  bool rounded = false;
  team.for_each(static_cast<int>(args.packing.tiles()), row_tiles_per_part(args.packing),
                [&](Range part) {
                  // Each thread rounds the token for itself: that is cheaper than waiting for
                  // another's result.
                  if (!rounded) quantize_token(isa, args, memory, 0, 0, PanelCodes::kByQuad);
                  rounded = true;
                  for (int tile = part.begin; tile < part.end; ++tile) {
                    multiply(kernel, args, tile, memory.tile(), 0);
                  }
                });
}

void multiply_few(Team& team, const Isa& isa, MatmulKernel* kernel, const MatmulArgs& args) {
  const TileMemory memory(team.scratch(), args.packing, 0, args.tokens);
  team.for_each(args.tokens, 1, [&](Range tokens) {
    for (int t = tokens.begin; t < tokens.end; ++t) {
      quantize_token(isa, args, memory, 0, t, PanelCodes::kByQuad);
    }
  });
  team.for_each(static_cast<int>(args.packing.tiles()), row_tiles_per_part(args.packing),
                [&](Range part) {
                  for (int tile = part.begin; tile < part.end; ++tile) {
                    multiply(kernel, args, tile, memory.tile(), 0);
                  }
                });
}

// A thread's own memory for a band of rows: as many tiles as the panel kernel takes.
struct Band {
  int tiles;
  float* sums;           // [T, tiles, 16]
  std::uint8_t* panels;  // [tiles, kPanelInputs, 16]

  static constexpr std::size_t kPanelBytes = std::size_t{kPanelInputs} * kTileRows;

  static std::size_t sum_bytes(int tokens, int tiles) {
    return static_cast<std::size_t>(tokens * tiles) * kTileRows * sizeof(float);
  }
  static std::size_t bytes(int tokens, int tiles) {
    return sum_bytes(tokens, tiles) + static_cast<std::size_t>(tiles) * kPanelBytes;
  }
  Band(std::byte* memory, int tokens, int band_tiles)
      : tiles(band_tiles),
        sums(reinterpret_cast<float*>(memory)),
        panels(reinterpret_cast<std::uint8_t*>(memory + sum_bytes(tokens, band_tiles))) {}

  float* sums_of(int token) const { return sums + token * tiles * kTileRows; }
  std::uint8_t* panel(int tile) const {
    return panels + static_cast<std::size_t>(tile) * kPanelBytes;
  }
};

// The sums of a band's rows for all tokens, with the bias, to where they belong.
void write_band(const MatmulArgs& args, const Band& band, int first_row) {
  const int rows = std::min(band.tiles * kTileRows, args.packing.rows - first_row);
  for (int t = 0; t < args.tokens; ++t) {
    const float* sums = band.sums_of(t);
    float* out = args.out + static_cast<std::size_t>(t) * args.packing.rows + first_row;
    if (args.bias == nullptr) {
      std::copy(sums, sums + rows, out);
    } else {
      for (int r = 0; r < rows; ++r) out[r] = sums[r] + args.bias[first_row + r];
    }
  }
}

// Asks for the packed codes of a stretch, so that they are near when they are unpacked: a burst of
// reading between long stretches of computing is more than the processor foresees.
void prefetch_codes(const Packing& packing, const std::uint8_t* tile, int first_group, int groups) {
  const auto first = static_cast<std::size_t>(first_group);
  const std::size_t end = packing.lines(first + static_cast<std::size_t>(groups) - 1);
  for (std::size_t at = packing.lines(first); at < end + packing.group_bytes(); at += kLineBytes) {
    __builtin_prefetch(tile + at, 0, 2);
  }
}

// All tokens against the band of rows from tile `first_tile` on, one stretch of inputs after the
// other. A band that reaches beyond the weight repeats its last tile; nobody looks at the sums.
template <class TileOf>
void multiply_band(const Isa& isa, const MatmulArgs& args, const Band& band, int first_tile,
                   const TokenTiling& tiling, TileOf token_tile) {
  const Packing& packing = args.packing;
  const int groups = static_cast<int>(packing.groups());
  const int groups_at_once = kPanelInputs / packing.group;
  const int last_tile = static_cast<int>(packing.tiles()) - 1;
  const auto tile_of = [&](int tile) {
    return args.weight + static_cast<std::size_t>(tile) * packing.tile_bytes();
  };
  PanelWork work;
  work.packing = packing;
  for (int i = 0; i < band.tiles; ++i) {
    work.tiles[i] = tile_of(std::min(first_tile + i, last_tile));
    work.panels[i] = band.panel(i);
  }
  std::fill(band.sums, band.sums_of(args.tokens), 0.0f);
  for (int group = 0; group < groups; group += groups_at_once) {
    work.first_group = group;
    work.groups = std::min(groups_at_once, groups - group);
    for (int i = 0; i < band.tiles; ++i) {
      isa.unpack_panel[packing.bits](packing, work.tiles[i], group, work.groups, band.panel(i));
    }
    const bool to_next_band = group + work.groups == groups;
    const int next = to_next_band ? 0 : group + work.groups;
    for (int i = 0; i < band.tiles; ++i) {
      const int tile = first_tile + i + (to_next_band ? band.tiles : 0);
      prefetch_codes(packing, tile_of(std::min(tile, last_tile)), next,
                     std::min(groups_at_once, groups - next));
    }
    for (int tile = 0; tile < tiling.tiles; ++tile) {
      work.x = token_tile(tile);
      work.sums = band.sums_of(tiling.first(tile));
      isa.multiply_panels[packing.bits](work);
    }
  }
  write_band(args, band, first_tile * kTileRows);
}

// All rounded tokens of a matmul that multiplies panels, and what their kernel may read behind
// them.
std::size_t rounded_bytes(const Isa& isa, const MatmulArgs& args) {
  const std::size_t tokens = static_cast<std::size_t>(args.tokens) * token_bytes(args.packing);
  const bool by_token = isa.panel_codes == PanelCodes::kByToken;
  return round_up(tokens + (by_token ? 16 * args.packing.padded_cols() : 0), kLineBytes);
}

void multiply_many(Team& team, const Isa& isa, const MatmulArgs& args) {
  const TokenTiling tiling(args.tokens, isa.panel_tokens);
  const std::size_t rounded = rounded_bytes(isa, args);
  const auto memory = [&](int tile) {
    return TileMemory(team.scratch(), args.packing, tiling.first(tile), tiling.count(tile));
  };
  team.for_each(tiling.tiles, 1, [&](Range tiles) {
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
      for (int t = 0; t < tiling.count(tile); ++t) {
        quantize_token(isa, args, memory(tile), tiling.first(tile), t, isa.panel_codes);
      }
    }
  });
  const int bands =
      static_cast<int>(ceil_div(args.packing.tiles(), static_cast<std::size_t>(isa.panel_tiles)));
  team.for_each(bands, 1, [&](Range part) {
    const std::size_t own = Band::bytes(args.tokens, isa.panel_tiles);
    if (isa.begin_panels != nullptr) isa.begin_panels(args.packing);
    const Band band(team.scratch() + rounded + static_cast<std::size_t>(team.rank) * own,
                    args.tokens, isa.panel_tiles);
    for (int i = part.begin; i < part.end; ++i) {
      multiply_band(isa, args, band, i * isa.panel_tiles, tiling,
                    [&](int tile) { return memory(tile).tile(); });
    }
    if (isa.end_panels != nullptr) isa.end_panels();
  });
}

}  // namespace

std::size_t matmul_scratch_bytes(const Isa& isa, const MatmulArgs& args, int threads) {
  const std::size_t bytes = token_bytes(args.packing);
  const auto team = static_cast<std::size_t>(threads);
  if (args.tokens == 1) return team * round_up(bytes, kLineBytes);
  if (args.tokens <= isa.few_tokens) return static_cast<std::size_t>(args.tokens) * bytes;
  return rounded_bytes(isa, args) + team * Band::bytes(args.tokens, isa.panel_tiles);
}

void matmul(Team& team, const Isa& isa, const MatmulArgs& args) noexcept {
  MatmulKernel* kernel = isa.matmul[args.packing.bits];
  if (args.tokens == 1) {
    multiply_one(team, isa, kernel, args);
  } else if (args.tokens <= isa.few_tokens) {
    multiply_few(team, isa, kernel, args);
  } else {
    multiply_many(team, isa, args);
  }
}

}  // namespace tinychat
