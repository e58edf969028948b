// COMPILED ONCE PER INSTRUCTION SET. Output of short rows that goes to memory past the caches. A batch of rows, which
// is a single piece of memory, is made up in scratch memory first, and written line by line while the next is computed.
#pragma once

#include "element.h"

namespace crossent::CROSSENT_ISA {
namespace {

class StagedRows {
  static constexpr ptrdiff_t line_bytes = 64;

 public:
  // `bytes` from `from` on, which have to stay as they are until all are written.
  __attribute__((noinline)) void add(const void* from, void* to, ptrdiff_t bytes) {
    from_ = static_cast<const char*>(from);
    to_ = static_cast<char*>(to);
    left_ = bytes;
    __builtin_prefetch(to_ + bytes, 1);  // the line that the next batch shares isn't written whole
    const ptrdiff_t before = (ptrdiff_t)(-(uintptr_t)to % line_bytes);
    copy(before < bytes ? before : bytes);
  }

  // Some lines, if there are as many: no more at a time than the memory takes meanwhile.
  template <int lines>
  CROSSENT_INLINE void write() {
    if (left_ < lines * line_bytes) return;
    repeat<lines>(CROSSENT_EACH(i) { stream_line(i); });
    advance(lines * line_bytes);
  }
  __attribute__((noinline)) void write_all() {
    while (left_ >= line_bytes) write<1>();
    copy(left_);
  }

 private:
  CROSSENT_INLINE void stream_line(int i) {
    Vec<float> value;
    __builtin_memcpy(&value, from_ + i * line_bytes, line_bytes);
    F32::stream(reinterpret_cast<float*>(to_ + i * line_bytes), value);
  }
  void copy(ptrdiff_t bytes) {
    __builtin_memcpy(to_, from_, (size_t)bytes);
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
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
