// The shortest way from Python to the loss, for the plainest arrays: what it can't take, bindings.cpp can.
#pragma once

struct _object;

// Adds plain_cross_entropy and plain_cross_entropy_with_grad to a module.
void add_plain_calls(_object* module);
