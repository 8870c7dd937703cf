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
  Entry& entry = by_name_[label.name];
  entry.label.name = label.name;
  entry.label.bytes += label.bytes;
  entry.label.operations += label.operations;
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
  std::vector<double> seconds(profile == nullptr ? 0 : steps_.size());
  pool.run(
      [&](Team& team) {
        // One thread's clock is enough: no step lets it pass before its work is done.
        const bool timed = profile != nullptr && team.rank == 0;
        for (std::size_t i = 0; i < steps_.size(); ++i) {
          const Clock::time_point start = timed ? Clock::now() : Clock::time_point();
          steps_[i].run(team, isa);
          if (timed) seconds[i] = seconds_since(start);
        }
      },
      scratch_bytes_);
  for (std::size_t i = 0; i < seconds.size(); ++i) profile->add(steps_[i].label, seconds[i]);
}

std::shared_ptr<MappedFile> Context::map_file(int file, std::size_t bytes) {
  auto mapped = std::make_shared<MappedFile>(file, bytes);
  files_.push_back(mapped);
  return mapped;
}

void Context::check_files() const {
  for (const std::weak_ptr<MappedFile>& file : files_) {
    const std::shared_ptr<MappedFile> held = file.lock();
    if (held && held->lost()) {
      throw LostFileError(
          "the packed copy of the weights was cut short or cannot be read any more; load the model "
          "again");
    }
  }
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
  check_files();
  if (profile_) profile_->add(step.label, seconds_since(start));
}

}  // namespace tinychat
