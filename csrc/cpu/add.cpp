// out = x + y.
#include <algorithm>

#include "cpu/ops.h"

namespace tinychat {

void add(Team& team, const Isa& isa, const AddArgs& args) noexcept {
  constexpr std::size_t kBlock = 256;
  constexpr int kGrain = 16;
  team.for_each(static_cast<int>(ceil_div(args.n, kBlock)), kGrain, [&](Range part) {
    const std::size_t begin = static_cast<std::size_t>(part.begin) * kBlock;
    const std::size_t end = std::min(args.n, static_cast<std::size_t>(part.end) * kBlock);
    isa.add(args.x + begin, args.y + begin, args.out + begin, end - begin);
  });
}

}  // namespace tinychat
