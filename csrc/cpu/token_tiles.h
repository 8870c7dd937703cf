// The tokens of a matmul rounded to int8 and cut into the tiles that its kernels take.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/matmul_input.h"
#include "cpu/ops.h"

namespace tinychat {

// Tiles of rows, of so many bytes each, that are worth a visit to the shared counter: about a
// microsecond of reading.
inline int tiles_per_part(std::size_t tile_bytes) {
  constexpr std::size_t kPartBytes = 16 << 10;
  return static_cast<int>(std::max<std::size_t>(1, kPartBytes / tile_bytes));
}

// Tiles of nearly equal size in memory of the caller's; each has its codes, then its scales, then
// its sums. `own` is the calling thread's: input_row_bytes of it.
class TokenTiles {
 public:
  // What `memory` must hold.
  static std::size_t bytes(const MatmulArgs& args, TokenCodes layout) {
    constexpr std::size_t kReadBehind = 16;  // tokens
    const auto tokens = static_cast<std::size_t>(args.tokens);
    const std::size_t behind =
        layout == TokenCodes::kByToken ? kReadBehind * args.packing.padded_cols() : 0;
    return round_up(tokens * token_bytes(args.packing) + behind, kLineBytes);
  }

  TokenTiles(std::byte* memory, std::byte* own, const MatmulArgs& args, int max_tokens,
             TokenCodes layout)
      : memory_(memory),
        own_(own),
        args_(args),
        layout_(layout),
        count_((args.tokens + max_tokens - 1) / max_tokens) {}

  int count() const { return count_; }
  // The first token of a tile.
  int first(int tile) const {
    return static_cast<int>(static_cast<std::int64_t>(args_.tokens) * tile / count_);
  }
  TokenTile tile(int i) const {
    const Place place(*this, i);
    return {place.tokens, place.codes, place.scales, place.minus_sums};
  }

  // Rounds the tokens of one tile, or all of them by the whole team.
  void round_tile(const Isa& isa, int tile) const {
    const Place place(*this, tile);
    for (int t = 0; t < place.tokens; ++t) round(isa, tile, t);
  }
  void round_all(Team& team, const Isa& isa) const {
    team.for_each(args_.tokens, 1, [&](Range tokens) {
      for (int token = tokens.begin; token < tokens.end; ++token) {
        int tile = static_cast<int>(static_cast<std::int64_t>(token) * count_ / args_.tokens);
        while (first(tile + 1) <= token) ++tile;
        round(isa, tile, token - first(tile));
      }
    });
  }

 private:
  struct Place {
    int tokens;
    std::int8_t* codes;
    float* scales;
    std::int32_t* minus_sums;

    Place(const TokenTiles& tiles, int tile) : tokens(tiles.first(tile + 1) - tiles.first(tile)) {
      const Packing& packing = tiles.args_.packing;
      const auto n = static_cast<std::size_t>(tokens);
      std::byte* start =
          tiles.memory_ + static_cast<std::size_t>(tiles.first(tile)) * token_bytes(packing);
      codes = reinterpret_cast<std::int8_t*>(start);
      scales = reinterpret_cast<float*>(start + n * packing.padded_cols());
      minus_sums = reinterpret_cast<std::int32_t*>(scales + n * packing.groups());
    }
  };

  static std::size_t token_bytes(const Packing& packing) {
    return packing.padded_cols() + packing.groups() * (sizeof(float) + sizeof(std::int32_t));
  }

  // Rounds token number t of a tile.
  void round(const Isa& isa, int tile, int t) const {
    const Place to(*this, tile);
    const Packing& packing = args_.packing;
    const float* x = input_row(isa, args_, first(tile) + t, own_);
    const std::size_t group = static_cast<std::size_t>(packing.group);
    const auto tokens = static_cast<std::size_t>(to.tokens);
    const auto at = static_cast<std::size_t>(t);
    const bool by_token = layout_ == TokenCodes::kByToken;
    for (std::size_t g = 0; g < packing.groups(); ++g) {
      const std::size_t begin = g * group;
      const int n = static_cast<int>(std::min(group, packing.cols - begin));
      const std::size_t place =
          by_token ? at * packing.padded_cols() + begin : begin * tokens + 4 * at;
      to.scales[g * tokens + at] =
          isa.quantize_group(x + begin, n, packing.group, to.codes + place,
                             by_token ? 4 : 4 * to.tokens, to.minus_sums + g * tokens + at);
    }
  }

  std::byte* memory_;
  std::byte* own_;
  const MatmulArgs& args_;
  TokenCodes layout_;
  int count_;
};

}  // namespace tinychat
