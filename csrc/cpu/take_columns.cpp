// out = x[:, order]: the inputs of an act-order weight, in the order of its columns.
#include <algorithm>

#include "cpu/ops.h"
#include "cpu/pieces.h"

namespace tinychat {

// An index outside of x reads its last column: the values were checked when the weight was read,
// and what went wrong since must not become a read of foreign memory.
void take_columns(Team& team, const Isa&, const TakeColumnsArgs& args) noexcept {
  const auto last = static_cast<std::uint32_t>(args.cols - 1);
  for_pieces(team, args.rows, args.cols, [&](std::size_t row, int first, int n) {
    const float* x = args.x + row * args.cols;
    float* out = args.out + row * args.cols;
    for (int k = first; k < first + n; ++k) {
      out[k] = x[std::min(static_cast<std::uint32_t>(args.order[k]), last)];
    }
  });
}

}  // namespace tinychat
