#include "kept_memory.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace crossent {
namespace {

constexpr size_t header_bytes = 64;  // keeps results at the start of a cache line
constexpr size_t huge_page_bytes = size_t{1} << 21;

struct Header {
  size_t bytes;  // of the whole piece
};

Header* allocate(size_t bytes) {
#if defined(__linux__)
  void* piece = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (piece == MAP_FAILED) throw std::bad_alloc();
  madvise(piece, bytes, MADV_HUGEPAGE);
#else
  void* piece = ::operator new(bytes, std::align_val_t{header_bytes});
#endif
  return new (piece) Header{bytes};
}

void free_piece(Header* piece) {
#if defined(__linux__)
  munmap(piece, piece->bytes);
#else
  ::operator delete(piece, std::align_val_t{header_bytes});
#endif
}

// A lock that can't be had is gone without: after a fork its holder may not exist any more.
class Kept {
 public:
  Header* take(size_t bytes) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    const auto fits = [&](const Header* piece) { return piece->bytes >= bytes && piece->bytes / 2 <= bytes; };
    const auto found = std::find_if(pieces_.rbegin(), pieces_.rend(), fits);  // the latest: the likeliest in cache
    if (found == pieces_.rend()) return nullptr;
    Header* piece = *found;
    pieces_.erase(std::next(found).base());
    bytes_ -= piece->bytes;
    return piece;
  }

  // Makes room by dropping the oldest pieces.
  void give(Header* piece) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || piece->bytes > kept_memory_limit) return free_piece(piece);
    while (bytes_ + piece->bytes > kept_memory_limit) drop_oldest();
    try {
      pieces_.push_back(piece);
      bytes_ += piece->bytes;
    } catch (const std::bad_alloc&) {
      free_piece(piece);
    }
  }

  size_t release() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    const size_t bytes = bytes_;
    while (lock && !pieces_.empty()) drop_oldest();
    return bytes - bytes_;
  }

 private:
  void drop_oldest() {
    bytes_ -= pieces_.front()->bytes;
    free_piece(pieces_.front());
    pieces_.erase(pieces_.begin());
  }

  std::mutex mutex_;
  std::vector<Header*> pieces_;  // the oldest first
  size_t bytes_ = 0;
};

// Never destroyed: arrays may outlive everything else when Python ends.
Kept& kept() {
  static Kept* instance = new Kept;
  return *instance;
}

}  // namespace

void* take_memory(size_t bytes) {
  const size_t whole = (bytes + header_bytes + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
  Header* piece = kept().take(whole);
  if (!piece) piece = allocate(whole);
  return reinterpret_cast<char*>(piece) + header_bytes;
}

void give_memory(void* memory) { kept().give(reinterpret_cast<Header*>(static_cast<char*>(memory) - header_bytes)); }

size_t release_memory() { return kept().release(); }

}  // namespace crossent
