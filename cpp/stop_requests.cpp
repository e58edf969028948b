#include "stop_requests.h"

#include <chrono>
#include <ctime>
#include <limits>

namespace crossent {
namespace {

constexpr int64_t interval_ms = 50;
thread_local StopRequests* of_this_thread = nullptr;

int64_t now_ms() {
#if defined(CLOCK_MONOTONIC_COARSE)
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);  // good to some milliseconds, for a quarter of the price
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
#else
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::steady_clock;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
#endif
}

}  // namespace

StopRequests::StopRequests() : outer_(of_this_thread) { of_this_thread = this; }
StopRequests::~StopRequests() { of_this_thread = outer_; }

StopRequests* StopRequests::current() { return of_this_thread; }

void StopRequests::heed_current() {
  if (of_this_thread && of_this_thread->are_due()) of_this_thread->heed();
}

bool StopRequests::are_due() {
  const int64_t now = now_ms();
  if (next_ms_ == 0) next_ms_ = now + interval_ms;
  return now >= next_ms_;
}

void StopRequests::heed() {
  const Answer answer = ask();
  if (answer == Answer::stop) throw Stopped();
  next_ms_ = answer == Answer::go_on ? now_ms() + interval_ms : std::numeric_limits<int64_t>::max();
}

}  // namespace crossent
