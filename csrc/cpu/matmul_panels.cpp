// Bands of rows, shared out; see the header.
#include "cpu/matmul_panels.h"

#include <algorithm>

#include "cpu/token_tiles.h"

namespace tinychat {
namespace {

// A thread's own memory for a band of rows: as many tiles as the panel kernel takes.
struct Band {
  float* sums;           // [T, kPanelTiles, 16]
  std::uint8_t* panels;  // [kPanelTiles, kPanelInputs, 16]

  static constexpr std::size_t kPanelBytes = std::size_t{kPanelInputs} * kTileRows;

  static std::size_t sum_bytes(int tokens) {
    return static_cast<std::size_t>(tokens * kPanelTiles * kTileRows) * sizeof(float);
  }
  static std::size_t bytes(int tokens) { return sum_bytes(tokens) + kPanelTiles * kPanelBytes; }

  Band(std::byte* memory, int tokens)
      : sums(reinterpret_cast<float*>(memory)),
        panels(reinterpret_cast<std::uint8_t*>(memory + sum_bytes(tokens))) {}

  float* sums_of(int token) const { return sums + token * kPanelTiles * kTileRows; }
  std::uint8_t* panel(int tile) const {
    return panels + static_cast<std::size_t>(tile) * kPanelBytes;
  }
};

// The sums of a band's rows for all tokens, with the bias, to where they belong.
void write_band(const MatmulArgs& args, const Band& band, int first_row) {
  const int rows = std::min(kPanelTiles * kTileRows, args.packing.rows - first_row);
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
void multiply_band(const Isa& isa, const MatmulArgs& args, const Band& band, int first_tile,
                   const TokenTiles& tokens) {
  const Packing& packing = args.packing;
  const int groups = static_cast<int>(packing.groups());
  const int groups_at_once = kPanelInputs / packing.group;
  const int last_tile = static_cast<int>(packing.tiles()) - 1;
  const auto tile_of = [&](int tile) {
    return args.weight + static_cast<std::size_t>(tile) * packing.tile_bytes();
  };
  PanelWork work;
  work.packing = packing;
  for (int i = 0; i < kPanelTiles; ++i) {
    work.tiles[i] = tile_of(std::min(first_tile + i, last_tile));
    work.panels[i] = band.panel(i);
  }
  std::fill(band.sums, band.sums_of(args.tokens), 0.0f);
  for (int group = 0; group < groups; group += groups_at_once) {
    work.first_group = group;
    work.groups = std::min(groups_at_once, groups - group);
    for (int i = 0; i < kPanelTiles; ++i) {
      isa.unpack_panel[packing.bits](packing, work.tiles[i], group, work.groups, band.panel(i));
    }
    const bool to_next_band = group + work.groups == groups;
    const int next = to_next_band ? 0 : group + work.groups;
    for (int i = 0; i < kPanelTiles; ++i) {
      const int tile = first_tile + i + (to_next_band ? kPanelTiles : 0);
      prefetch_codes(packing, tile_of(std::min(tile, last_tile)), next,
                     std::min(groups_at_once, groups - next));
    }
    for (int tile = 0; tile < tokens.count(); ++tile) {
      work.x = tokens.tile(tile);
      work.sums = band.sums_of(tokens.first(tile));
      isa.multiply_panels(work);
    }
  }
  write_band(args, band, first_tile * kTileRows);
}

}  // namespace

bool panels_pay(const Isa& isa, const MatmulArgs& args) {
  return isa.multiply_panels != nullptr && args.tokens > isa.max_tokens;
}

std::size_t panels_scratch_bytes(const MatmulArgs& args, int threads) {
  const std::size_t bands = static_cast<std::size_t>(threads) * Band::bytes(args.tokens);
  return TokenTiles::bytes(args, TokenCodes::kByToken) + bands;
}

void multiply_panels(Team& team, const Isa& isa, const MatmulArgs& args) {
  const TokenTiles tokens(team.scratch(), args, kPanelTokens, TokenCodes::kByToken);
  tokens.round_all(team, isa);
  const int bands = static_cast<int>(ceil_div(args.packing.tiles(), kPanelTiles));
  std::byte* own = team.scratch() + TokenTiles::bytes(args, TokenCodes::kByToken) +
                   static_cast<std::size_t>(team.rank) * Band::bytes(args.tokens);
  team.for_each(bands, 1, [&](Range part) {
    isa.begin_panels(args.packing);
    for (int i = part.begin; i < part.end; ++i) {
      multiply_band(isa, args, Band(own, args.tokens), i * kPanelTiles, tokens);
    }
    isa.end_panels();
  });
}

}  // namespace tinychat
