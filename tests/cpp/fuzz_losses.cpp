// libFuzzer on the C++ interface (loss.h, binary_loss.h): bytes become a call whose operands lie in heap blocks of
// exactly their extent, with strides of any sign, gaps, broadcast axes and labels of any value. The sanitizers see
// stray accesses; what is checked here is that a call with a bad label names one and writes nothing, and that the
// places that a score gives are places.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../cpp/binary_loss.h"
#include "../../cpp/dispatch.h"
#include "../../cpp/loss.h"

using namespace crossent;

namespace {

// Numbers from the fuzzer's bytes; 0 when there are no more.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  ptrdiff_t upto(ptrdiff_t most) { return (byte() | byte() << 8) % (most + 1); }
  bool one_in(int n) { return byte() % n == 0; }
  void fill(std::vector<uint8_t>& memory) {
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = data_[(at_ + i) % size_];
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

// An operand in a block of its own: the strides that were chosen for it, and where its first element is.
struct Block {
  std::vector<ptrdiff_t> strides;
  std::vector<uint8_t> memory;
  ptrdiff_t first = 0;
  void* data() { return memory.data() + first; }
};

Block block_of(const std::vector<ptrdiff_t>& extents, ptrdiff_t item_bytes, Bytes& bytes, bool is_written) {
  Block block;
  block.strides.resize(extents.size());
  ptrdiff_t step = 1, below = 0, above = 0;
  const bool is_backwards = bytes.one_in(2);  // the order of the axes in memory
  for (size_t k = 0; k < extents.size(); ++k) {
    const size_t i = is_backwards ? k : extents.size() - 1 - k;
    const bool is_broadcast = !is_written && bytes.one_in(8);
    const ptrdiff_t stride = is_broadcast ? 0 : bytes.one_in(4) ? -step : step;
    block.strides[i] = stride;
    (stride < 0 ? below : above) += stride * (extents[i] - 1);
    if (!is_broadcast) step = step * extents[i] + (bytes.one_in(3) ? bytes.upto(3) : 0);
  }
  block.memory.resize(static_cast<size_t>((above - below + 1) * item_bytes));
  block.first = -below * item_bytes;
  bytes.fill(block.memory);
  return block;
}

void add_strides(Layout& layout, const Block& block, int operand) {
  for (int i = 0; i < layout.axes; ++i) layout.axis[i].stride[operand] = block.strides[static_cast<size_t>(i)];
}

void require(bool condition) {
  if (!condition) std::abort();
}

struct Shape {
  std::vector<ptrdiff_t> positions, all;  // all: with the classes
  Layout layout;
  ptrdiff_t classes, count = 1;
};

Shape shape_from(Bytes& bytes) {
  Shape shape;
  for (int axes = bytes.byte() % 4; axes > 0; --axes) {
    shape.positions.push_back(1 + bytes.upto(bytes.one_in(8) && shape.count < 20 ? 150 : 6));
    shape.layout.add_axis(shape.positions.back());
    shape.count *= shape.positions.back();
  }
  shape.classes = 1 + bytes.upto(shape.count > 1000 ? 20 : bytes.one_in(16) ? 40000 : 140);
  if (shape.count * shape.classes > 200'000) shape.classes = 1 + shape.classes % 9;
  shape.all = shape.positions;
  shape.all.push_back(shape.classes);
  return shape;
}

Operand operand_of(Block& block, Shape& shape, Element element, int which) {
  add_strides(shape.layout, block, which);
  return {block.data(), element, block.strides.back()};
}

// What a call compares the logits with.
struct Targets {
  std::vector<int64_t> labels;
  Block probabilities;
};

void add_targets(Bytes& bytes, Shape& shape, Targets& targets, CrossEntropyCall& call) {
  targets.labels.resize(static_cast<size_t>(shape.count));
  call.has_ignore_index = bytes.one_in(2);
  call.ignore_index = bytes.one_in(2) ? -100 : bytes.upto(shape.classes);
  if (bytes.one_in(4)) {
    const auto kind = static_cast<Element>(bytes.byte() % 4);
    targets.probabilities = block_of(shape.all, size_of(kind), bytes, false);
    call.probabilities = operand_of(targets.probabilities, shape, kind, probabilities_operand);
    return;
  }
  const bool is_sound = !bytes.one_in(4);
  for (int64_t& label : targets.labels) {
    label = bytes.upto(is_sound ? shape.classes - 1 : shape.classes + 2) - !is_sound;
  }
  if (!is_sound && bytes.one_in(2)) targets.labels.back() = int64_t{1} << (bytes.byte() % 64);
  ptrdiff_t step = 1;
  for (int i = shape.layout.axes - 1; i >= 0; --i) {
    shape.layout.axis[i].stride[target_operand] = step;
    step *= shape.layout.axis[i].extent;
  }
  call.target = targets.labels.data();
}

// The first label that a call has to refuse, or -1.
ptrdiff_t first_bad_label(const CrossEntropyCall& call, ptrdiff_t count) {
  for (ptrdiff_t p = 0; call.target && p < count; ++p) {
    const int64_t label = call.target[p];
    const bool is_ignored = call.has_ignore_index && label == call.ignore_index;
    if (!is_ignored && (label < 0 || label >= call.classes)) return p;
  }
  return -1;
}

void try_cross_entropy(Bytes& bytes) {
  Shape shape = shape_from(bytes);
  const auto element = static_cast<Element>(bytes.byte() % 4);
  Block logits = block_of(shape.all, size_of(element), bytes, false);
  CrossEntropyCall call;
  call.classes = shape.classes;
  call.logits = operand_of(logits, shape, element, logits_operand);

  Targets targets;
  add_targets(bytes, shape, targets, call);
  Block output, scale, losses;
  std::vector<double> weight(static_cast<size_t>(shape.classes), 0.5);
  if (bytes.one_in(2)) call.weight = weight.data();
  call.label_smoothing = bytes.one_in(2) ? 0 : 0.25;
  call.reduction = static_cast<Reduction>(bytes.byte() % 3);
  if (bytes.one_in(3)) {
    scale = block_of(shape.positions, 8, bytes, false);
    add_strides(shape.layout, scale, scale_operand);
    call.grad_outputs = static_cast<const double*>(scale.data());
  }
  call.losses_are_f64 = bytes.one_in(2);
  if (bytes.one_in(2)) {
    losses = block_of(shape.positions, call.losses_are_f64 ? 8 : 4, bytes, true);
    add_strides(shape.layout, losses, losses_operand);
    call.losses = losses.data();
  }
  if (bytes.one_in(4)) {
    const Block& x = logits;
    if (std::find(x.strides.begin(), x.strides.end(), 0) == x.strides.end()) {  // in place
      for (int i = 0; i < shape.layout.axes; ++i)
        shape.layout.axis[i].stride[output_operand] = shape.layout.axis[i].stride[logits_operand];
      call.gradient = call.logits;
    }
  } else if (!bytes.one_in(4)) {
    const bool widens = size_of(element) == 2 && bytes.one_in(2);
    output = block_of(shape.all, widens ? 4 : size_of(element), bytes, true);
    call.gradient = operand_of(output, shape, widens ? Element::f32 : element, output_operand);
  }
  call.layout = shape.layout;

  const std::vector<uint8_t> written_before = output.memory, logits_before = logits.memory;
  const CrossEntropyOutcome outcome = cross_entropy(call);
  const ptrdiff_t first_bad = first_bad_label(call, shape.count);
  require(outcome.bad_position == first_bad && !outcome.target_changed);
  if (first_bad >= 0) require(output.memory == written_before && logits.memory == logits_before);
}

// A block with the strides of another.
Block beside(const Block& other, ptrdiff_t other_item_bytes, ptrdiff_t item_bytes) {
  Block block;
  block.memory.resize(other.memory.size() / static_cast<size_t>(other_item_bytes) * static_cast<size_t>(item_bytes));
  block.first = other.first / other_item_bytes * item_bytes;
  return block;
}

void try_score(Bytes& bytes) {
  Shape shape = shape_from(bytes);
  const auto element = static_cast<Element>(bytes.byte() % 4);
  Block logits = block_of(shape.all, size_of(element), bytes, false);
  CrossEntropyCall call;
  call.classes = shape.classes;
  call.logits = operand_of(logits, shape, element, logits_operand);
  Targets targets;
  add_targets(bytes, shape, targets, call);
  call.reduction = Reduction::none;
  call.temperature = bytes.one_in(2) ? 1 : 0.25 * static_cast<double>(1 + bytes.upto(15));
  call.losses_are_f64 = bytes.one_in(2);
  const ptrdiff_t figure_bytes = call.losses_are_f64 ? 8 : 4;
  Block losses = block_of(shape.positions, figure_bytes, bytes, true);
  add_strides(shape.layout, losses, losses_operand);
  call.losses = losses.data();
  Block places[] = {beside(losses, figure_bytes, 8), beside(losses, figure_bytes, 8)};
  Block figures[4];
  for (Block& figure : figures) figure = beside(losses, figure_bytes, figure_bytes);
  const ScoreColumns scores = {static_cast<int64_t*>(places[0].data()),
                               call.target ? static_cast<int64_t*>(places[1].data()) : nullptr,
                               figures[0].data(),
                               figures[1].data(),
                               figures[2].data(),
                               figures[3].data()};
  call.scores = &scores;
  call.layout = shape.layout;

  const std::vector<uint8_t> losses_before = losses.memory;
  const CrossEntropyOutcome outcome = cross_entropy(call);
  const ptrdiff_t first_bad = first_bad_label(call, shape.count);
  require(outcome.bad_position == first_bad && !outcome.target_changed);
  if (first_bad >= 0) require(losses.memory == losses_before);
  for (const Block& place : places) {  // 0 where nothing was written, -1 where the target is ignored
    const auto* numbers = reinterpret_cast<const int64_t*>(place.memory.data());
    const size_t count = place.memory.size() / 8;
    require(std::all_of(numbers, numbers + count, [&](int64_t n) { return n >= -1 && n <= shape.classes; }));
    if (first_bad >= 0) require(std::all_of(numbers, numbers + count, [](int64_t n) { return n == 0; }));
  }
}

void try_softmax(Bytes& bytes) {
  Shape shape = shape_from(bytes);
  const auto element = static_cast<Element>(bytes.byte() % 4);
  Block x = block_of(shape.all, size_of(element), bytes, false), y;
  SoftmaxCall call = {};
  call.classes = shape.classes;
  call.logits = operand_of(x, shape, element, logits_operand);
  call.operation = bytes.one_in(2)   ? Operation::softmax
                   : bytes.one_in(2) ? Operation::log_softmax
                                     : Operation::logsumexp;
  if (call.operation == Operation::logsumexp) {
    call.losses_are_f64 = bytes.one_in(2);
    y = block_of(shape.positions, call.losses_are_f64 ? 8 : 4, bytes, true);
    add_strides(shape.layout, y, losses_operand);
    call.losses = y.data();
  } else {
    const bool widens = size_of(element) == 2 && bytes.one_in(2);
    y = block_of(shape.all, widens ? 4 : size_of(element), bytes, true);
    call.output = operand_of(y, shape, widens ? Element::f32 : element, output_operand);
  }
  call.layout = shape.layout;
  softmax(call);
}

void try_binary(Bytes& bytes) {
  constexpr ptrdiff_t item_bytes[] = {4, 8, 2, 2, 1, 1, 2, 4, 8, 1, 2, 4, 8};
  Shape shape = shape_from(bytes);
  Block blocks[binary_operands];
  BinaryCall call = {};
  call.from_logits = bytes.one_in(2);
  call.grad_output = 0.5;
  for (int i = 0; i < binary_operands; ++i) {
    const auto which = static_cast<BinaryOperand>(i);
    const bool is_written = which == BinaryOperand::losses || which == BinaryOperand::gradient;
    if (i > 1 && bytes.one_in(2)) continue;
    call.scalar[i] = static_cast<Scalar>(bytes.byte() % (is_written || i == 0 ? 4 : 13));
    blocks[i] = block_of(shape.positions, item_bytes[static_cast<int>(call.scalar[i])], bytes, is_written);
    add_strides(shape.layout, blocks[i], i);
    call.data[i] = blocks[i].data();
  }
  call.layout = shape.layout;
  binary_cross_entropy(call);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  static const std::vector<std::string> sets = supported_instruction_sets();
  Bytes bytes(data, size);
  select_instruction_set(sets[bytes.byte() % sets.size()]);
  const int kind = bytes.byte() % 8;
  if (kind < 2) {
    try_softmax(bytes);
  } else if (kind == 2) {
    try_binary(bytes);
  } else if (kind < 5) {
    try_score(bytes);
  } else {
    try_cross_entropy(bytes);
  }
  return 0;
}
