// norm: rows of a matrix, shared out.
#include "cpu/norm.h"

#include "cpu/ops.h"

namespace tinychat {

void norm(Team& team, const Isa& isa, const NormArgs& args) noexcept {
  constexpr int kRowsPerPart = 2;
  team.for_each(args.rows, kRowsPerPart, [&](Range part) {
    for (int row = part.begin; row < part.end; ++row) {
      const std::size_t at = static_cast<std::size_t>(row) * args.cols;
      norm_row(isa, args.norm, args.x + at, args.out + at, args.cols);
    }
  });
}

}  // namespace tinychat
