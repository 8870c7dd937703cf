// Fibers: threads that only change when asked to, at the price of a function call. An emulated CUDA
// thread is one, so that hundreds wait for each other in a barrier without the system's help.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#if !(defined(__x86_64__) || defined(__aarch64__)) || defined(TINYCHAT_UCONTEXT)
#include <ucontext.h>
#define TINYCHAT_FIBER_UCONTEXT 1
#endif

namespace tinychat::emulation {

// The memory that a fiber runs on. Its lowest bytes are the canary: they stay zero, as the system
// hands them out, until a fiber has grown into them.
struct Stack {
  std::byte* bottom = nullptr;
  std::size_t bytes = 0;

  // Whether something ran out of it; asked once a mistake, it begins anew.
  bool overflowed() const;
};

// Stacks that are mapped once and used by one launch after the other; the system gives a page its
// memory when it is first touched.
class StackPool {
 public:
  StackPool() = default;
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // Throws std::bad_alloc where the system gives no more.
  Stack operator[](std::size_t i);

 private:
  std::vector<std::byte*> mappings_;
};

class Fiber {
 public:
  // The context that is running now: what `switch_to` comes back to.
  Fiber() = default;

  // Runs `entry` on `stack` when it is first switched to. `entry` does not return: its last act is
  // a switch with `ended`. What was left of an earlier fiber on the stack is forgotten.
  void start(const Stack& stack, std::size_t color, void (*entry)());

  // Leaves the running fiber, which is this one, until somebody switches back to it.
  void switch_to(Fiber& next, bool ended = false);

  // Whether there was room for what ran since the last look.
  bool overflowed() const { return stack_.overflowed(); }

 private:
  static void arrive(void* own_fake_stack);
  static void trampoline();

#ifdef TINYCHAT_FIBER_UCONTEXT
  ucontext_t context_;
#else
  void* stack_pointer_ = nullptr;
#endif
  void (*entry_)() = nullptr;
  Stack stack_;
};

}  // namespace tinychat::emulation
