// Float rows to codes, scales and zeros, straight from the file's own elements.
#include "cpu/ops.h"

namespace tinychat {

void round_to_nearest(Team& team, const Isa& isa, const RoundToNearestArgs& args) noexcept {
  const std::size_t cols = static_cast<std::size_t>(args.cols);
  const std::size_t groups = cols / static_cast<std::size_t>(args.rule.group);
  team.for_each(args.rows, 1, [&](Range rows) {
    for (auto row = static_cast<std::size_t>(rows.begin); row < static_cast<std::size_t>(rows.end);
         ++row) {
      isa.round_row(args.dtype, args.weights + row * row_bytes(args.dtype, args.cols), args.cols,
                    args.rule, args.codes + row * cols, args.scales + row * groups,
                    args.zeros + row * groups);
    }
  });
}

}  // namespace tinychat
