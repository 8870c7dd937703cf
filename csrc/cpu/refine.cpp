// refine: add a second product to the outputs that can matter, those in the tiles with the largest
// maxima.
//
// Bound by reading the chosen tiles of the weight; a chosen one is read as matmul reads it, from
// its start to its end. Every token goes its own way, in the order in which it would go alone.
#include <algorithm>
#include <functional>

#include "cpu/ops.h"
#include "cpu/token_tiles.h"

namespace tinychat {
namespace {

// The product, as TokenTiles wants it.
MatmulArgs product_of(const RefineArgs& args) {
  MatmulArgs product{};
  product.x = args.x;
  product.weight = args.weight;
  product.tokens = args.tokens;
  product.packing = args.packing;
  return product;
}

// Scratch memory: what the team shares, then each thread's own.
class Workspace {
 public:
  Workspace(std::byte* memory, const RefineArgs& args) : memory_(memory), args_(args) {}

  static std::size_t bytes(const RefineArgs& args, int threads) {
    return shared_bytes(args) + static_cast<std::size_t>(threads) * sorted_bytes(args);
  }

  // The maxima of a token's tiles.
  float* maxima(int token) const {
    return reinterpret_cast<float*>(memory_) + static_cast<std::size_t>(token) * all(args_);
  }
  // The tiles chosen for a token, in order.
  int* chosen(int token) const {
    const std::size_t behind = static_cast<std::size_t>(args_.tokens) * all(args_) * sizeof(float);
    return reinterpret_cast<int*>(memory_ + behind) +
           static_cast<std::size_t>(token) * static_cast<std::size_t>(args_.chosen());
  }
  // The tokens as the product takes them.
  std::byte* rounded() const { return memory_ + choice_bytes(args_); }
  // A thread's copy of some maxima.
  float* sorted(int rank) const {
    return reinterpret_cast<float*>(memory_ + shared_bytes(args_) +
                                    static_cast<std::size_t>(rank) * sorted_bytes(args_));
  }

 private:
  static std::size_t all(const RefineArgs& args) { return args.packing.tiles(); }
  static std::size_t sorted_bytes(const RefineArgs& args) {
    return args.refines_all() ? 0 : round_up(all(args) * sizeof(float), kLineBytes);
  }
  static std::size_t choice_bytes(const RefineArgs& args) {
    if (args.refines_all()) return 0;
    const std::size_t a_token =
        all(args) * sizeof(float) + static_cast<std::size_t>(args.chosen()) * sizeof(int);
    return round_up(static_cast<std::size_t>(args.tokens) * a_token, kLineBytes);
  }
  static std::size_t shared_bytes(const RefineArgs& args) {
    return choice_bytes(args) + TokenTiles::bytes(product_of(args), TokenCodes::kByQuad);
  }

  std::byte* memory_;
  const RefineArgs& args_;
};

float* outputs_of(const RefineArgs& args, int token, int tile) {
  return args.logits +
         static_cast<std::size_t>(token) * static_cast<std::size_t>(args.packing.rows) +
         static_cast<std::size_t>(tile) * kTileRows;
}

// Outputs of a tile; the last may have fewer than 16.
int rows_of(const RefineArgs& args, int tile) {
  return std::min(kTileRows, args.packing.rows - tile * kTileRows);
}

void find_maxima(Team& team, const Isa& isa, const RefineArgs& args, const Workspace& w) {
  constexpr int kTilesPerRun = 256;  // about a microsecond
  const int tiles = static_cast<int>(args.packing.tiles());
  const int runs = (tiles + kTilesPerRun - 1) / kTilesPerRun;
  team.for_each(args.tokens * runs, 1, [&](Range part) {
    for (int item = part.begin; item < part.end; ++item) {
      const int token = item / runs;
      const int begin = item % runs * kTilesPerRun;
      const int end = std::min(tiles, begin + kTilesPerRun);
      float* maxima = w.maxima(token);
      for (int tile = begin; tile < end; ++tile) {
        maxima[tile] = isa.largest(outputs_of(args, token, tile), rows_of(args, tile));
      }
    }
  });
}

// Writes the tiles with the largest maxima, the first of equal ones, in order: so a run of them is
// read as one stream.
void choose(const float* maxima, int tiles, int count, float* sorted, int* chosen) {
  std::copy(maxima, maxima + tiles, sorted);
  std::nth_element(sorted, sorted + (count - 1), sorted + tiles, std::greater<float>());
  const float least = sorted[count - 1];
  const auto larger =
      std::count_if(sorted, sorted + count, [&](float maximum) { return maximum > least; });
  int equal_ones = count - static_cast<int>(larger);
  for (int tile = 0; tile < tiles; ++tile) {
    if (maxima[tile] > least || (maxima[tile] == least && equal_ones-- > 0)) *chosen++ = tile;
  }
}

void choose_tiles(Team& team, const RefineArgs& args, const Workspace& w) {
  const int tiles = static_cast<int>(args.packing.tiles());
  team.for_each(args.tokens, 1, [&](Range part) {
    for (int token = part.begin; token < part.end; ++token) {
      choose(w.maxima(token), tiles, args.chosen(), w.sorted(team.rank), w.chosen(token));
    }
  });
}

void add_products(Team& team, const Isa& isa, const RefineArgs& args, const Workspace& w) {
  MatmulKernel* kernel = isa.matmul[args.packing.bits];
  const std::size_t tile_bytes = args.packing.tile_bytes();
  const int count = args.chosen();

  const MatmulArgs product = product_of(args);
  const TokenTiles tokens(w.rounded(), nullptr, product, 1, TokenCodes::kByQuad);
  tokens.round_all(team, isa);
  team.for_each(args.tokens * count, tiles_per_part(tile_bytes), [&](Range part) {
    for (int item = part.begin; item < part.end; ++item) {
      const int token = item / count;
      const int tile = args.refines_all() ? item % count : w.chosen(token)[item % count];
      float sums[kTileRows];
      kernel(args.packing, args.weight + static_cast<std::size_t>(tile) * tile_bytes,
             tokens.tile(token), nullptr, sums, kTileRows);
      float* logits = outputs_of(args, token, tile);
      for (int r = 0; r < rows_of(args, tile); ++r) logits[r] += sums[r];
    }
  });
}

}  // namespace

std::size_t refine_scratch_bytes(const RefineArgs& args, int threads) {
  return Workspace::bytes(args, threads);
}

void refine(Team& team, const Isa& isa, const RefineArgs& args) noexcept {
  const Workspace workspace(team.scratch(), args);
  if (!args.refines_all()) {
    find_maxima(team, isa, args, workspace);
    choose_tiles(team, args, workspace);
  }
  add_products(team, isa, args, workspace);
}

}  // namespace tinychat
