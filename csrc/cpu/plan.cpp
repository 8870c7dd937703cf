// Recording, replaying and timing.
#include "cpu/plan.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tinychat {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

void Profile::add(const OpLabel& label, double seconds) {
  Entry& entry = by_name_.try_emplace(label.name, Entry{label}).first->second;
  ++entry.calls;
  entry.seconds += seconds;
}

std::vector<Profile::Entry> Profile::entries() const {
  std::vector<Entry> entries;
  for (const auto& named : by_name_) entries.push_back(named.second);
  return entries;
}

void Plan::append(Step step, std::size_t scratch_bytes) {
  steps_.push_back(std::move(step));
  scratch_bytes_ = std::max(scratch_bytes_, scratch_bytes);
}

void Plan::run(ThreadPool& pool, const Isa& isa, Profile* profile) const {
  pool.run(
      [&](Team& team) {
        // One thread's clock is enough: no step lets it pass before its work is done.
        const bool timed = profile != nullptr && team.rank == 0;
        for (const Step& step : steps_) {
          const Clock::time_point start = timed ? Clock::now() : Clock::time_point();
          step.run(team, isa);
          if (timed) profile->add(step.label, seconds_since(start));
        }
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

void Context::begin_profile() {
  if (profile_) throw std::logic_error("a profile is already being taken");
  profile_ = std::make_unique<Profile>();
}

std::vector<Profile::Entry> Context::end_profile() {
  if (!profile_) throw std::logic_error("no profile is being taken");
  const std::unique_ptr<Profile> taken = std::move(profile_);
  return taken->entries();
}

void Context::submit_step(Step step, std::size_t scratch_bytes) {
  if (recording_) {
    recording_->append(std::move(step), scratch_bytes);
    return;
  }
  const Clock::time_point start = Clock::now();
  pool_.run([&](Team& team) { step.run(team, isa_); }, scratch_bytes);
  if (profile_) profile_->add(step.label, seconds_since(start));
}

}  // namespace tinychat
