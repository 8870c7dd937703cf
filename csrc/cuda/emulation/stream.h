// What stands for a stream of a card: takes launches, refuses those that hardware would refuse, and
// runs them, one after the other or, where they allow it, the later one first.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cuda/emulation/grid.h"
#include "cuda/emulation/settings.h"

namespace tinychat::emulation {

class Stream {
 public:
  explicit Stream(const Settings& settings) : settings_(settings) {}

  const Settings& settings() const { return settings_; }

  // Lets a kernel have more dynamic shared memory than the 48 KB that all may have. Returns why
  // not, or nothing; so do the others.
  std::string allow_shared(const void* kernel, std::size_t bytes);

  // Without `overlap` the launch has run when this returns. With it, it waits for what is launched
  // next or for `synchronize`, which then tells of its mistakes.
  std::string launch(const void* kernel, Launch launch);
  std::string synchronize();

 private:
  std::string refusal(const void* kernel, const Launch& launch) const;
  std::string run(const Launch& launch, std::size_t depth, std::function<std::string()> previous);
  std::string run_pending(std::size_t count, std::size_t depth);

  const Settings settings_;
  std::map<const void*, std::size_t> allowed_shared_;
  std::vector<Launch> pending_;
  std::deque<StackPool> stacks_;  // one for each launch that runs inside another
  std::uint32_t launches_ = 0;
};

}  // namespace tinychat::emulation
