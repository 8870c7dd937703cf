// Recording and replaying.
#include "cpu/plan.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace tinychat {

void Plan::append(Step step, std::size_t scratch_bytes) {
  steps_.push_back(std::move(step));
  scratch_bytes_ = std::max(scratch_bytes_, scratch_bytes);
}

void Plan::run(ThreadPool& pool, const Isa& isa) const {
  pool.run(
      [&](Team& team) {
        for (const Step& step : steps_) step(team, isa);
      },
      scratch_bytes_);
}

void Context::begin_record() {
  if (recording_) throw std::logic_error("a plan is already being recorded");
  recording_ = std::make_shared<Plan>();
}

std::shared_ptr<Plan> Context::end_record() {
  if (!recording_) throw std::logic_error("no plan is being recorded");
  return std::move(recording_);
}

void Context::submit_step(Plan::Step step, std::size_t scratch_bytes) {
  if (recording_) {
    recording_->append(std::move(step), scratch_bytes);
  } else {
    pool_.run([&](Team& team) { step(team, isa_); }, scratch_bytes);
  }
}

}  // namespace tinychat
