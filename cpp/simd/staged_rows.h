// COMPILED ONCE PER INSTRUCTION SET. Output of short rows that goes to memory past the caches. A batch of rows, which
// is a single piece of memory, is made up in scratch memory first, and written line by line while the next is computed.
#pragma once

#include "shared_line.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Whether it is: where a value is a single register, floats alone, which take so little time.
template <class T>
constexpr bool writes_meanwhile = parts == 1 && sizeof(T) == 4;

class StagedRows {
 public:
  // `bytes` from `from` on, which have to stay as they are until all are written.
  __attribute__((noinline)) void add(const void* from, void* to, ptrdiff_t bytes) {
    from_ = static_cast<const char*>(from);
    to_ = static_cast<char*>(to);
    left_ = bytes;
    const ptrdiff_t before = bytes_to_line(to);
    if (before > 0) share(before < bytes ? before : bytes);
  }

  // Some lines, if there are as many: no more at a time than the memory takes meanwhile.
  template <int lines>
  CROSSENT_INLINE void write() {
    if (left_ < lines * line_bytes) return;
    repeat<lines>(CROSSENT_EACH(i) { stream_line(from_ + i * line_bytes, to_ + i * line_bytes); });
    advance(lines * line_bytes);
  }
  // All but a last line that the next batch has a part of.
  __attribute__((noinline)) void write_all() {
    while (left_ >= line_bytes) write<1>();
    if (left_ > 0) share(left_);
  }

  // After the last batch.
  void finish() {
    write_all();
    shared_line_.leave();
  }

 private:
  void share(ptrdiff_t bytes) {
    __builtin_memcpy(shared_line_.room_for(to_), from_, (size_t)bytes);
    shared_line_.add(bytes);
    advance(bytes);
  }
  void advance(ptrdiff_t bytes) {
    from_ += bytes;
    to_ += bytes;
    left_ -= bytes;
  }

  const char* from_ = nullptr;
  char* to_ = nullptr;
  ptrdiff_t left_ = 0;
  SharedLine shared_line_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
