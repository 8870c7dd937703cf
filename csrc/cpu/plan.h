// Ops run at once, or are recorded into a plan that replays them in one call: one wake-up of the
// pool for all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cpu/ops.h"
#include "cpu/select.h"

namespace tinychat {

// A list of ops with their arguments. The memory they point to must outlive it; Python keeps the
// tensors.
class Plan {
 public:
  using Step = std::function<void(Team&, const Isa&)>;

  void append(Step step, std::size_t scratch_bytes);
  std::size_t size() const { return steps_.size(); }
  void run(ThreadPool& pool, const Isa& isa) const;

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
  void run(const Plan& plan) { plan.run(pool_, isa_); }

  // Runs the op now, or appends it to the plan being recorded. `scratch_bytes` is what its
  // team.scratch() holds. Ops are noexcept by type: a thread that threw inside a team would leave
  // the others at a barrier.
  template <class Args>
  void submit(void (*op)(Team&, const Isa&, const Args&) noexcept, const Args& args,
              std::size_t scratch_bytes = 0) {
    submit_step([op, args](Team& team, const Isa& isa) { op(team, isa, args); }, scratch_bytes);
  }

 private:
  void submit_step(Plan::Step step, std::size_t scratch_bytes);

  Isa isa_;
  ThreadPool pool_;
  std::shared_ptr<Plan> recording_;
};

}  // namespace tinychat
