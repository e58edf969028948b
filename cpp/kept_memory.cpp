#include "kept_memory.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sys/mman.h>
#endif

namespace crossent {
namespace {

constexpr size_t page_bytes = 4096;

void free_piece(Piece* piece) {
  return_pages(piece->data, piece->bytes);
  delete piece;
}

// A large piece is the first that a system short of memory takes, page by page, instead of ending a process; a page
// that was taken is a fresh one when it is written again. Smaller ones aren't worth it: it costs some 10 % of a
// gradient.
void lend_to_system([[maybe_unused]] const Piece& piece) {
#if defined(__linux__) && defined(MADV_FREE)
  const bool is_lent = kept_memory_limit / 2 < piece.bytes && piece.bytes <= kept_memory_limit;
  if (is_lent) madvise(piece.data, piece.bytes, MADV_FREE);
#endif
}

// A lock that can't be had is gone without: no call waits for another's system call. A fork does, since its child would
// find the lock of a thread that it doesn't have.
class Kept {
 public:
  // A piece that is larger by a quarter at most, or null.
  Piece* take(size_t bytes) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    const auto fits = [&](const Piece* piece) { return piece->bytes >= bytes && piece->bytes - bytes <= bytes / 4; };
    const auto found = std::find_if(pieces_.rbegin(), pieces_.rend(), fits);  // the latest: the likeliest in cache
    if (found == pieces_.rend()) return nullptr;
    Piece* piece = *found;
    pieces_.erase(std::next(found).base());
    bytes_ -= piece->bytes;
    return piece;
  }

  // Makes room by dropping the oldest pieces.
  void give(Piece* piece) {
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
    if (!lock) return 0;
    const size_t bytes = bytes_;
    while (!pieces_.empty()) drop_oldest();
    return bytes;
  }

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  void drop_oldest() {
    bytes_ -= pieces_.front()->bytes;
    free_piece(pieces_.front());
    pieces_.erase(pieces_.begin());
  }

  std::mutex mutex_;
  std::vector<Piece*> pieces_;  // the oldest first
  size_t bytes_ = 0;
};

// Never destroyed: arrays may outlive everything else when Python ends.
Kept& kept() {
  static Kept* instance = new Kept;
  return *instance;
}

#if defined(__linux__)
[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { kept().lock(); }, [] { kept().unlock(); }, [] { kept().unlock(); });
[[maybe_unused]] const Kept& made_before_any_fork = kept();
#endif

}  // namespace

void* fresh_pages(size_t bytes) {
#if defined(__linux__)
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  madvise(data, bytes, MADV_HUGEPAGE);
  return data;
#else
  return ::operator new(bytes, std::align_val_t{page_bytes}, std::nothrow);
#endif
}

void return_pages(void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  munmap(data, bytes);
#else
  ::operator delete(data, std::align_val_t{page_bytes});
#endif
}

Piece* take_piece(size_t bytes) {
  const size_t whole = (bytes + page_bytes - 1) / page_bytes * page_bytes;
  if (whole < bytes) throw std::bad_alloc();
  if (Piece* piece = kept().take(whole)) return piece;
  auto piece = std::make_unique<Piece>(Piece{fresh_pages(whole), whole});
  if (!piece->data && kept().release() > 0) piece->data = fresh_pages(whole);
  if (!piece->data) throw std::bad_alloc();
  return piece.release();
}

void give_piece(Piece* piece) {
  lend_to_system(*piece);
  kept().give(piece);
}

size_t release_memory() { return kept().release(); }

}  // namespace crossent
