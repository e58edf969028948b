// COMPILED ONCE PER INSTRUCTION SET. A line of memory that neighbours share, on its way past the caches: it is put
// together here and written whole, since to store a part of a line it would have to be fetched first.
#pragma once

#include "element.h"

namespace crossent::CROSSENT_ISA {
namespace {

CROSSENT_INLINE void stream_line(const void* from, void* to) {
  Vec<float> value;
  __builtin_memcpy(&value, from, line_bytes);
  F32::stream(static_cast<float*>(to), value);
}

class SharedLine {
 public:
  // Where to put what comes at `to`, with room for a whole line.
  char* room_for(void* to) {
    if (to != line_ + end_) {
      leave();
      begin_ = end_ = (ptrdiff_t)((uintptr_t)to % line_bytes);
      line_ = static_cast<char*>(to) - begin_;
    }
    return value_ + end_;
  }
  // So many bytes have been put there, none of them beyond the line.
  void add(ptrdiff_t bytes) {
    end_ += bytes;
    if (end_ == line_bytes) leave();
  }
  // What has been put together goes to memory.
  void leave() {
    if (end_ - begin_ == line_bytes) {
      stream_line(value_, line_);
    } else if (end_ > begin_) {
      __builtin_memcpy(line_ + begin_, value_ + begin_, (size_t)(end_ - begin_));
    }
    line_ = nullptr;
    begin_ = end_ = 0;
  }

 private:
  char* line_ = nullptr;
  ptrdiff_t begin_ = 0, end_ = 0;  // of the bytes that are there
  alignas(line_bytes) char value_[2 * line_bytes];
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
