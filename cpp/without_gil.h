// For bindings.cpp and plain_call.cpp: computing for Python. In the default floating-point environment; without the GIL
// where that is worth it, and then Ctrl-C and other signals are seen to every now and then.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <thread>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include "floating_point.h"
#include "main_thread.h"
#include "stop_requests.h"

namespace crossent {

constexpr std::ptrdiff_t elements_worth_releasing_the_gil = 1 << 14;

class ReleasedGil final : public StopRequests {
 public:
  explicit ReleasedGil(const DefaultFloatingPoint& environment)
      : environment_(environment), state_(PyEval_SaveThread()) {}
  ~ReleasedGil() override { take_gil(); }

 private:
  // Python handles signals in its main thread alone; what a handler raises stays set.
  Answer ask() override {
    take_gil();
    environment_.suspend();
    Answer answer = Answer::go_on;
    if (PyErr_CheckSignals() != 0) {
      answer = Answer::stop;
    } else if (!in_main_thread()) {
      answer = Answer::go_on_for_good;
    }
    environment_.resume();
    state_ = PyEval_SaveThread();
    return answer;
  }

  // While the interpreter ends, Python unwinds the stack of a daemon thread that wants the GIL, through frames that
  // can't be unwound. It sleeps until the process ends instead, as in Python 3.14.
  void take_gil() const {
#if defined(__GLIBCXX__)
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
#else
    PyEval_RestoreThread(state_);
#endif
  }

  const DefaultFloatingPoint& environment_;
  PyThreadState* state_;
};

template <class Function>
auto compute(std::ptrdiff_t elements, const Function& function) {
  const DefaultFloatingPoint environment;
  if (elements < elements_worth_releasing_the_gil) return function();
  try {
    const ReleasedGil released(environment);
    return function();
  } catch (const Stopped&) {
    throw pybind11::error_already_set();
  }
}

}  // namespace crossent
