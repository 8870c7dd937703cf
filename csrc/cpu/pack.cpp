// pack: from codes, scales and zeros of a matrix to the layout of w4.h; unpack: exactly back.
#include <algorithm>
#include <cstring>

#include "cpu/ops.h"

namespace tinychat {
namespace {

// One row inside one tile, for both directions.
struct Row {
  std::uint8_t* codes;
  std::uint16_t* scales;
  std::uint8_t* zeros;
  std::uint8_t* tile;
  int lane;

  Row(const PackArgs& args, int row)
      : codes(args.codes + static_cast<std::size_t>(row) * args.packing.cols),
        scales(args.scales + static_cast<std::size_t>(row) * args.groups),
        zeros(args.zeros + static_cast<std::size_t>(row) * args.groups),
        tile(args.packed + static_cast<std::size_t>(row / kTileRows) * args.packing.tile_bytes()),
        lane(row % kTileRows) {}

  std::uint8_t* scale(const Packing& packing, std::size_t g) const {
    return tile + packing.scales(g) + 2 * lane;
  }
  std::uint8_t* zero(const Packing& packing, std::size_t g) const {
    return tile + packing.zeros(g) + lane;
  }
  // This row's part of the first line of a group; that of the next line is kLineBytes further.
  std::uint8_t* quads(const Packing& packing, std::size_t g) const {
    return tile + packing.lines(g) + 4 * lane;
  }
};

// Four codes from where n are left; the fixed-size copy is one instruction.
std::uint32_t load_codes(const std::uint8_t* codes, int n) {
  std::uint32_t four = 0;
  if (n >= 4) {
    std::memcpy(&four, codes, sizeof four);
  } else if (n > 0) {
    std::memcpy(&four, codes, static_cast<std::size_t>(n));
  }
  return four;
}

void store_codes(std::uint8_t* codes, int n, std::uint32_t four) {
  if (n >= 4) {
    std::memcpy(codes, &four, sizeof four);
  } else if (n > 0) {
    std::memcpy(codes, &four, static_cast<std::size_t>(n));
  }
}

void pack_row(const PackArgs& args, int row) {
  const Packing& packing = args.packing;
  const Row place(args, row);
  const int width = packing.inputs_per_line();
  for (std::size_t g = 0; g < packing.groups(); ++g) {
    const std::size_t from = args.groups == 1 ? 0 : g;
    std::memcpy(place.scale(packing, g), place.scales + from, sizeof(std::uint16_t));
    *place.zero(packing, g) = place.zeros[from];

    std::uint8_t* quad = place.quads(packing, g);
    const int begin = static_cast<int>(g) * packing.group;
    const int end = std::min(packing.cols, begin + packing.group);
    for (int k = begin; k < end; k += width, quad += kLineBytes) {
      std::uint32_t four = load_codes(place.codes + k, end - k);
      if (width == 8) four |= load_codes(place.codes + k + 4, end - k - 4) << 4;
      std::memcpy(quad, &four, sizeof four);
    }
  }
}

void unpack_row(const PackArgs& args, int row) {
  constexpr std::uint32_t kLowNibbles = 0x0f0f0f0f;
  const Packing& packing = args.packing;
  const Row place(args, row);
  for (int g = 0; g < args.groups; ++g) {
    const auto group = static_cast<std::size_t>(g);
    std::memcpy(place.scales + g, place.scale(packing, group), sizeof(std::uint16_t));
    place.zeros[g] = *place.zero(packing, group);
  }
  const int width = packing.inputs_per_line();
  for (std::size_t g = 0; g < packing.groups(); ++g) {
    const std::uint8_t* quad = place.quads(packing, g);
    const int begin = static_cast<int>(g) * packing.group;
    const int end = std::min(packing.cols, begin + packing.group);
    for (int k = begin; k < end; k += width, quad += kLineBytes) {
      std::uint32_t four;
      std::memcpy(&four, quad, sizeof four);
      store_codes(place.codes + k, end - k, width == 8 ? four & kLowNibbles : four);
      if (width == 8) store_codes(place.codes + k + 4, end - k - 4, four >> 4 & kLowNibbles);
    }
  }
}

}  // namespace

void pack(Team& team, const Isa&, const PackArgs& args) noexcept {
  const std::size_t bytes = args.packing.tile_bytes();
  team.for_each(static_cast<int>(args.packing.tiles()), 1, [&](Range tiles) {
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
      std::memset(args.packed + static_cast<std::size_t>(tile) * bytes, 0, bytes);
      const int end = std::min(args.packing.rows, (tile + 1) * kTileRows);
      for (int row = tile * kTileRows; row < end; ++row) pack_row(args, row);
    }
  });
}

void unpack(Team& team, const Isa&, const PackArgs& args) noexcept {
  team.for_each(args.packing.rows, kTileRows, [&](Range rows) {
    for (int row = rows.begin; row < rows.end; ++row) unpack_row(args, row);
  });
}

}  // namespace tinychat
