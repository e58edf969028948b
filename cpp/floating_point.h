// The default floating-point environment for as long as an object lives: round to nearest, denormals kept. Another
// library may have switched to flushing denormals or to another rounding mode. What was there before comes back in the
// end, exception flags included.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace crossent {

class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() : saved_(State::current()) { State::defaults().set(); }
  ~DefaultFloatingPoint() { saved_.set(); }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

  // Lets code of others run in between, in the environment that was there before.
  void suspend() const { saved_.set(); }
  void resume() const { State::defaults().set(); }

 private:
#if defined(__x86_64__)
  struct State {
    unsigned control_and_flags;
    static State current() { return {_mm_getcsr()}; }
    static State defaults() { return {0x1f80}; }
    void set() const { _mm_setcsr(control_and_flags); }
  };
#elif defined(__aarch64__)
  struct State {
    unsigned long control, flags;
    static State current() {
      State state;
      asm volatile("mrs %0, fpcr" : "=r"(state.control));
      asm volatile("mrs %0, fpsr" : "=r"(state.flags));
      return state;
    }
    static State defaults() { return {0, 0}; }
    void set() const {
      asm volatile("msr fpcr, %0" ::"r"(control));
      asm volatile("msr fpsr, %0" ::"r"(flags));
    }
  };
#else
  struct State {
    static State current() { return {}; }
    static State defaults() { return {}; }
    void set() const {}
  };
#endif
  State saved_;
};

}  // namespace crossent
