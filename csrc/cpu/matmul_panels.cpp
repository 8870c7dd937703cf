// Bands of rows, shared out; see the header.
#include "cpu/matmul_panels.h"

#include <algorithm>

#include "cpu/matmul_output.h"
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

// Which tile of rows is tile i of a band: neighbours, or where outputs are gated a gate and what it
// gates. A band that reaches beyond the weight repeats its last tile; nobody looks at the sums.
int tile_of_band(const MatmulArgs& args, int band, int i) {
  if (args.gated) return band + i * (args.outputs() / kTileRows);
  return std::min(band * kPanelTiles + i, static_cast<int>(args.packing.tiles()) - 1);
}

int bands_of(const MatmulArgs& args) {
  return static_cast<int>(ceil_div(args.packing.tiles(), kPanelTiles));
}

// The outputs of a band for all tokens.
void write_band(const Isa& isa, const MatmulArgs& args, const Band& memory, int band) {
  for (int t = 0; t < args.tokens; ++t) {
    float* sums = memory.sums_of(t);
    for (int i = 0; i < kPanelTiles && args.bias != nullptr; ++i) {
      const int row = tile_of_band(args, band, i) * kTileRows;
      const int rows = std::min(kTileRows, args.packing.rows - row);
      for (int r = 0; r < rows; ++r) sums[i * kTileRows + r] += args.bias[row + r];
    }
    const int at_once = args.gated ? kTileRows : kPanelTiles * kTileRows;
    const int n = std::min(at_once, args.outputs() - band * at_once);
    write_outputs(isa, args, t, band * at_once, n, sums, sums + kTileRows);
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

// All tokens against a band of rows, one stretch of inputs after the other.
void multiply_band(const Isa& isa, const MatmulArgs& args, const Band& memory, int band,
                   const TokenTiles& tokens) {
  const Packing& packing = args.packing;
  const int groups = static_cast<int>(packing.groups());
  const int groups_at_once = kPanelInputs / packing.group;
  const auto packed_tile = [&](int of_band, int i) {
    return args.weight +
           static_cast<std::size_t>(tile_of_band(args, of_band, i)) * packing.tile_bytes();
  };
  PanelWork work;
  work.packing = packing;
  for (int i = 0; i < kPanelTiles; ++i) {
    work.tiles[i] = packed_tile(band, i);
    work.panels[i] = memory.panel(i);
  }
  std::fill(memory.sums, memory.sums_of(args.tokens), 0.0f);
  for (int group = 0; group < groups; group += groups_at_once) {
    work.first_group = group;
    work.groups = std::min(groups_at_once, groups - group);
    for (int i = 0; i < kPanelTiles; ++i) {
      isa.unpack_panel[packing.bits](packing, work.tiles[i], group, work.groups, memory.panel(i));
    }
    const bool to_next_band = group + work.groups == groups;
    const int next = to_next_band ? 0 : group + work.groups;
    const int next_band = std::min(band + (to_next_band ? 1 : 0), bands_of(args) - 1);
    for (int i = 0; i < kPanelTiles; ++i) {
      prefetch_codes(packing, packed_tile(next_band, i), next,
                     std::min(groups_at_once, groups - next));
    }
    for (int tile = 0; tile < tokens.count(); ++tile) {
      work.x = tokens.tile(tile);
      work.sums = memory.sums_of(tokens.first(tile));
      isa.multiply_panels(work);
    }
  }
  write_band(isa, args, memory, band);
}

}  // namespace

bool panels_pay(const Isa& isa, const MatmulArgs& args) {
  const bool whole = !args.gated || args.outputs() % kTileRows == 0;
  return isa.multiply_panels != nullptr && args.tokens > isa.max_tokens && whole;
}

std::size_t panels_scratch_bytes(const MatmulArgs& args, int threads) {
  const std::size_t own = Band::bytes(args.tokens) + input_row_bytes(args);
  return TokenTiles::bytes(args, TokenCodes::kByToken) + static_cast<std::size_t>(threads) * own;
}

void multiply_panels(Team& team, const Isa& isa, const MatmulArgs& args) {
  const std::size_t band_bytes = Band::bytes(args.tokens);
  std::byte* own = team.scratch() + TokenTiles::bytes(args, TokenCodes::kByToken) +
                   static_cast<std::size_t>(team.rank) * (band_bytes + input_row_bytes(args));
  const TokenTiles tokens(team.scratch(), own + band_bytes, args, kPanelTokens,
                          TokenCodes::kByToken);
  tokens.round_all(team, isa);
  team.for_each(bands_of(args), 1, [&](Range part) {
    isa.begin_panels(args.packing);
    for (int band = part.begin; band < part.end; ++band) {
      multiply_band(isa, args, Band(own, args.tokens), band, tokens);
    }
    isa.end_panels();
  });
}

}  // namespace tinychat
