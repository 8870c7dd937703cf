// Recording and replaying.
#include "cpu/plan.h"

#include <algorithm>
#include <chrono>
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

double Context::read_bandwidth(std::size_t bytes, int repeats) {
  const std::vector<std::uint64_t> data(bytes / sizeof(std::uint64_t), 1);
  std::atomic<std::uint64_t> sum{0};
  const ReadArgs args{data.data(), data.size(), &sum};
  double best = 0.0;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool_.run([&](Team& team) { read_all(team, isa_, args); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(bytes) / seconds.count() / 1e9);
  }
  return best;
}

void Context::submit_step(Plan::Step step, std::size_t scratch_bytes) {
  if (recording_) {
    recording_->append(std::move(step), scratch_bytes);
  } else {
    pool_.run([&](Team& team) { step(team, isa_); }, scratch_bytes);
  }
}

}  // namespace tinychat
