// Ops run at once, or are recorded into a plan that replays them in one call: one wake-up of the
// pool for all. Either way each can be timed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpu/mapped_file.h"
#include "cpu/ops.h"
#include "cpu/select.h"

namespace tinychat {

// What a profile says of a call of an op; bytes and operations are 0 where nobody asks.
struct OpLabel {
  std::string name;
  double bytes = 0;       // of weights that are read
  double operations = 0;  // multiplications and additions
};

// Where the time goes, by the names of ops.
class Profile {
 public:
  // All calls of one name.
  struct Entry {
    OpLabel label;
    std::int64_t calls = 0;
    double seconds = 0;
  };

  void add(const OpLabel& label, double seconds);
  std::vector<Entry> entries() const;

 private:
  std::map<std::string, Entry> by_name_;
};

// An op with its arguments.
struct Step {
  std::function<void(Team&, const Isa&)> run;
  OpLabel label;
};

// A list of steps. The memory they point to must outlive it; Python keeps the tensors.
class Plan {
 public:
  void append(Step step, std::size_t scratch_bytes);
  std::size_t size() const { return steps_.size(); }
  // Notes how long each step takes in a profile that is not null.
  void run(ThreadPool& pool, const Isa& isa, Profile* profile) const;

 private:
  std::vector<Step> steps_;
  std::size_t scratch_bytes_ = 0;
};

// The choice of an ISA, its threads, and the plan being recorded, if one is.
class Context {
 public:
  Context(const std::string& isa, int threads) : isa_(select_isa(isa)), pool_(threads) {}

  const Isa& isa() const { return isa_; }
  ThreadPool& pool() { return pool_; }
  int threads() const { return pool_.size(); }
  void close() { pool_.close(); }

  void begin_record();
  std::shared_ptr<Plan> end_record();
  void run(const Plan& plan) {
    plan.run(pool_, isa_, profile_.get());
    check_files();
  }

  // Memory for ops to read, as long as somebody holds it.
  std::shared_ptr<MappedFile> map_file(int file, std::size_t bytes);
  // Throws LostFileError where part of such memory is lost: what was computed since is wrong.
  void check_files() const;

  // Until end_profile every op that runs is timed.
  void begin_profile();
  std::vector<Profile::Entry> end_profile();

  // Runs the op now, or appends it to the plan being recorded. `scratch_bytes` is what its
  // team.scratch() holds. Ops are noexcept by type: a thread that threw inside a team would leave
  // the others at a barrier.
  template <class Args>
  void submit(OpLabel label, void (*op)(Team&, const Isa&, const Args&) noexcept, const Args& args,
              std::size_t scratch_bytes = 0) {
    const auto run = [op, args](Team& team, const Isa& isa) { op(team, isa, args); };
    submit_step({run, std::move(label)}, scratch_bytes);
  }

 private:
  void submit_step(Step step, std::size_t scratch_bytes);

  Isa isa_;
  ThreadPool pool_;
  std::shared_ptr<Plan> recording_;
  std::unique_ptr<Profile> profile_;
  std::vector<std::weak_ptr<MappedFile>> files_;
};

}  // namespace tinychat
