// The switch between fibers: callee-saved registers go to the old stack and come from the new one.
#include "cuda/emulation/fiber.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define TINYCHAT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TINYCHAT_ASAN 1
#endif
#endif

#ifdef TINYCHAT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef TINYCHAT_FIBER_UCONTEXT
// Saves the running context, its stack pointer in *save, and goes on with that of `load`.
extern "C" void tinychat_switch_context(void** save, void* load) __asm__("tinychat_switch_context");

#ifdef __ELF__
__asm__(".hidden tinychat_switch_context");
#endif
#if defined(__x86_64__)
__asm__(R"(
.text
.globl tinychat_switch_context
tinychat_switch_context:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#else
__asm__(R"(
.text
.globl tinychat_switch_context
.balign 4
tinychat_switch_context:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#endif
#endif

namespace tinychat::emulation {
namespace {

// AddressSanitizer puts space between the variables of a frame. An odd number of pages, so that the
// tops of many stacks do not fall into the same sets of the cache.
#ifdef TINYCHAT_ASAN
constexpr std::size_t kStackBytes = 65 * 4096;
#else
constexpr std::size_t kStackBytes = 17 * 4096;
#endif
constexpr std::size_t kGuardBytes = 64 << 10;  // below the last stack of a mapping; no access
constexpr std::size_t kCanaryBytes = 64;
constexpr std::size_t kStacksPerMapping = 256;
constexpr std::size_t kMappingBytes = kGuardBytes + kStacksPerMapping * kStackBytes;
constexpr std::size_t kColors = 16;
constexpr std::size_t kColorBytes = 192;

Fiber* left;     // the fiber of the latest switch
Fiber* entered;  // and the one that it went to

}  // namespace

bool Stack::overflowed() const {
  std::byte* const end = bottom + kCanaryBytes;
  if (std::all_of(bottom, end, [](std::byte b) { return b == std::byte{0}; })) return false;
  std::fill(bottom, end, std::byte{0});
  return true;
}

StackPool::~StackPool() {
  for (std::byte* mapping : mappings_) {
#ifdef TINYCHAT_ASAN
    // Frames that were left for good are still marked, and whoever gets this memory next would be
    // blamed.
    __asan_unpoison_memory_region(mapping, kMappingBytes);
#endif
    munmap(mapping, kMappingBytes);
  }
}

// The first stack is the uppermost, so that what outgrows it in a small block meets nobody.
Stack StackPool::operator[](std::size_t i) {
  while (i / kStacksPerMapping >= mappings_.size()) {
    void* memory = mmap(nullptr, kMappingBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, kGuardBytes, PROT_NONE);
    mappings_.push_back(static_cast<std::byte*>(memory));
  }
  std::byte* const end = mappings_[i / kStacksPerMapping] + kMappingBytes;
  return {end - (i % kStacksPerMapping + 1) * kStackBytes, kStackBytes};
}

void Fiber::start(const Stack& stack, std::size_t color, void (*entry)()) {
  stack_ = stack;
  entry_ = entry;
#ifdef TINYCHAT_ASAN
  __asan_unpoison_memory_region(stack.bottom, stack.bytes);
#endif
  const std::size_t usable = stack.bytes - color % kColors * kColorBytes;
#ifdef TINYCHAT_FIBER_UCONTEXT
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack.bottom;
  context_.uc_stack.ss_size = usable;
  context_.uc_link = nullptr;
  makecontext(&context_, trampoline, 0);
#else
  auto** top = reinterpret_cast<void**>(stack.bottom + usable);
#if defined(__x86_64__)
  *--top = nullptr;  // stands for the return address of the trampoline: it has none
  *--top = reinterpret_cast<void*>(trampoline);
  constexpr std::size_t kSaved = 6;
  top -= kSaved;
  std::fill(top, top + kSaved, nullptr);
#else
  constexpr std::size_t kSaved = 20, kLinkRegister = 11;
  top -= kSaved;
  std::fill(top, top + kSaved, nullptr);
  top[kLinkRegister] = reinterpret_cast<void*>(trampoline);
#endif
  stack_pointer_ = top;
#endif
}

void Fiber::switch_to(Fiber& next, [[maybe_unused]] bool ended) {
  left = this;
  entered = &next;
  void* fake_stack = nullptr;
#ifdef TINYCHAT_ASAN
  __sanitizer_start_switch_fiber(ended ? nullptr : &fake_stack, next.stack_.bottom,
                                 next.stack_.bytes);
#endif
#ifdef TINYCHAT_FIBER_UCONTEXT
  swapcontext(&context_, &next.context_);
#else
  tinychat_switch_context(&stack_pointer_, next.stack_pointer_);
#endif
  arrive(fake_stack);
}

// The bounds of the context that a launch starts from are only known to the sanitizer, which tells
// them to the first fiber that comes from there.
void Fiber::arrive([[maybe_unused]] void* own_fake_stack) {
#ifdef TINYCHAT_ASAN
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(own_fake_stack, &bottom, &bytes);
  left->stack_.bottom = static_cast<std::byte*>(const_cast<void*>(bottom));
  left->stack_.bytes = bytes;
#endif
}

void Fiber::trampoline() {
  arrive(nullptr);
  entered->entry_();
}

}  // namespace tinychat::emulation
