// Whether somebody wants a long call to end (Ctrl-C): asked every 50 ms by the thread that called, between two blocks
// of work and outside parallel regions. Whoever starts a call says how it is found out.
#pragma once

#include <cstdint>

namespace crossent {

// Thrown where a call ends early; what it was to write is partly written then.
struct Stopped {};

// While it lives, it is asked by the blocks of work of this thread.
class StopRequests {
 public:
  StopRequests();
  virtual ~StopRequests();
  StopRequests(const StopRequests&) = delete;
  StopRequests& operator=(const StopRequests&) = delete;

  // Those of the calling thread, or null: nobody can want this call to end.
  static StopRequests* current();

  // Asks them if it is time to; throws Stopped if the call is to end.
  static void heed_current();

  // Whether it is time to ask; costs a few nanoseconds.
  bool are_due();

  void heed();

 protected:
  enum class Answer : uint8_t { go_on, stop, go_on_for_good };
  virtual Answer ask() = 0;

 private:
  StopRequests* outer_;
  int64_t next_ms_ = 0;  // 0: the clock hasn't been read yet
};

}  // namespace crossent
