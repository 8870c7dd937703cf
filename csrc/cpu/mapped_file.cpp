// The handler of SIGBUS is installed with the first mapping and stays. It sees to our mappings and
// passes everything else on to whoever was there before.
#include "cpu/mapped_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include "cpu/memory.h"

namespace tinychat {
namespace {

// What the handler may look at: no locks, no allocations.
struct Watched {
  std::atomic<std::uintptr_t> begin{0};  // 0: free
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> lost{false};
};

constexpr int kMostMappings = 64;
Watched watched[kMostMappings];
std::mutex watching;  // guards the taking of a place
struct sigaction before_us;
std::uintptr_t page_bytes = kPageBytes;

// Puts zeros in the place of the page and of all behind it.
bool replace_lost(std::uintptr_t address) {
  for (Watched& place : watched) {
    const std::uintptr_t begin = place.begin.load(), end = place.end.load();
    if (address < begin || address >= end) continue;
    const std::uintptr_t page = address / page_bytes * page_bytes;
    void* zeros = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros == MAP_FAILED) return false;
    place.lost.store(true);
    return true;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  if (!replace_lost(reinterpret_cast<std::uintptr_t>(info->si_addr))) {
    if ((before_us.sa_flags & SA_SIGINFO) != 0) {
      before_us.sa_sigaction(signal, info, context);
    } else if (before_us.sa_handler != SIG_DFL && before_us.sa_handler != SIG_IGN) {
      before_us.sa_handler(signal);
    } else {
      sigaction(signal, &before_us, nullptr);  // the access is repeated, and ends the process
    }
  }
  errno = error;
}

void install_handler() {
  static std::once_flag installed;
  std::call_once(installed, [] {
    page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction ours = {};
    ours.sa_sigaction = on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, &before_us);
  });
}

// The number of a place that was free.
int watch(std::uintptr_t begin, std::uintptr_t end) {
  const std::lock_guard<std::mutex> lock(watching);
  for (int i = 0; i < kMostMappings; ++i) {
    if (watched[i].begin.load() != 0) continue;
    watched[i].lost.store(false);
    watched[i].end.store(end);
    watched[i].begin.store(begin);
    return i;
  }
  return -1;
}

}  // namespace

MappedFile::MappedFile(int file, std::size_t bytes) : bytes_(bytes) {
  install_handler();
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) {
    throw std::runtime_error(std::string("a file cannot be mapped: ") + std::strerror(errno));
  }
  data_ = static_cast<std::byte*>(data);
  prefer_large_pages(data_, bytes);
  const auto begin = reinterpret_cast<std::uintptr_t>(data_);
  watched_ = watch(begin, begin + bytes);
  if (watched_ < 0) {
    munmap(data, bytes);
    throw std::runtime_error("too many files are mapped");
  }
}

MappedFile::~MappedFile() {
  watched[watched_].begin.store(0);
  munmap(data_, bytes_);
}

bool MappedFile::lost() const { return watched[watched_].lost.load(); }

}  // namespace tinychat
