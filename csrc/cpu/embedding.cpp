// Table rows to float32.
#include "cpu/ops.h"

namespace tinychat {

void embedding(Team& team, const Isa& isa, const EmbeddingArgs& args) noexcept {
  constexpr int kRowsPerPart = 4;
  const std::size_t bytes = row_bytes(args.dtype, args.cols);
  team.for_each(args.rows, kRowsPerPart, [&](Range part) {
    for (int row = part.begin; row < part.end; ++row) {
      const std::byte* source = args.table + static_cast<std::size_t>(args.ids[row]) * bytes;
      isa.read_row(args.dtype, source, args.out + static_cast<std::size_t>(row) * args.cols,
                   args.cols);
    }
  });
}

}  // namespace tinychat
