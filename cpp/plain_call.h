// The shortest way from Python to the loss, for the plainest arrays: what it can't take, bindings.cpp can.
#pragma once

#include <cstddef>

struct _object;

// Below this many elements a call is over before another thread would have taken the GIL.
constexpr std::ptrdiff_t elements_worth_releasing_the_gil = 1 << 14;

// Adds plain_cross_entropy and plain_cross_entropy_with_grad to a module.
void add_plain_calls(_object* module);
