// A file as memory that outlives the file's loss.
#pragma once

#include <cstddef>
#include <stdexcept>

namespace tinychat {

// Thrown by ops that may have read memory whose file was lost.
struct LostFileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A read-only mapping of a whole open file. Where somebody cuts the file short, or its disk fails,
// the system raises SIGBUS, which would end the process: from there on the mapping then turns into
// zeros, and `lost` says so.
class MappedFile {
 public:
  // Throws std::runtime_error where it cannot be.
  MappedFile(int file, std::size_t bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  bool lost() const;

 private:
  std::byte* data_;
  std::size_t bytes_;
  int watched_;
};

}  // namespace tinychat
