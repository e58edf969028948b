// What a kernel is given and the table of kernels. Plain data, no dependence on an instruction set: this is the border
// between the driver (loss.cpp) and simd/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crossent {

enum class Element : uint8_t { f32, f64, f16, bf16 };

constexpr ptrdiff_t size_of(Element element) { return element == Element::f64 ? 8 : element == Element::f32 ? 4 : 2; }

enum class Operation : uint8_t { cross_entropy, softmax, log_softmax, logsumexp, score };

// What is the same for every position of a call.
//
// The weighted target of class c at a position is t_c = factor_c · q_c + base_c + [c = y] · target_share · weight_y,
// with q the position's class probabilities and y its class index, whichever there is. Then, with W = sum of t_c,
//     loss = sum of t_c · (lse - x_c)         gradient_c = scale · (softmax_c · W - t_c).
//
// base, factor and target_share are in units of `unit`, a power of two that keeps weights of any size within float's
// range.
struct Problem {
  Operation operation;
  ptrdiff_t classes;
  bool has_ignore_index;
  int64_t ignore_index;
  double target_share;   // (1 - label_smoothing) / unit
  const double* weight;  // by class; null means 1
  const void* base;      // by class, float or double as the logits are computed; null means 0
  const void* factor;    // likewise; null unless targets are probabilities
  bool factor_is_one;    // of every class, and base_is_zero: t_c = q_c
  double unit;
  double base_sum;          // over the classes
  bool base_is_zero;        // every base_c is 0
  double base_unit;         // base_c = base_unit · base_units_c, of which sums over classes are made
  const void* base_units;   // by class, likewise
  bool base_units_are_one;  // all of them
  const double* base_sums;  // of base_units over each chunk of classes
  bool gradient_is_zero;    // the mean's denominator is 0
  bool losses_are_f64;
  double temperature;  // what the logits are divided by first; 1 where there is an output
};

// One array along the positions of a segment; strides in elements.
struct Plane {
  void* data;
  Element element;
  ptrdiff_t position_stride, class_stride;
};

// What a chunk of a row's classes is reduced to; see simd/statistics.h.
struct RowStatistics {
  double value[10];
};

// What the output of a row is computed with; see simd/finish.h.
struct RowOutput {
  double maximum, value[7];
  ptrdiff_t target;  // or -1
};

// Positions whose classes are shared out among threads, stage by stage.
struct SharedClasses {
  enum class Stage : uint8_t {
    reduce,  // classes first_class … end_class - 1, whole chunks, to `chunks`
    finish,  // all chunks to the loss and `output`
    write    // classes first_class … end_class - 1 of the output
  };
  Stage stage;
  ptrdiff_t first_class, end_class;
  RowStatistics* chunks;  // all of a position's, then those of the next
  RowOutput* output;      // of each position
};

// What is written for each position of a score, beside its loss and with the loss's stride; see simd/score.h.
struct ScoreColumns {
  int64_t *predicted, *rank;                                  // rank may be null, where there is no class index
  void *confidence, *log_sum_exp, *entropy, *sum_of_squares;  // double or float as the losses are
};

struct SegmentResult {
  double loss_sum, loss_sum_error;  // the sum is loss_sum + loss_sum_error, to about twice the precision of double
  bool target_changed;              // a target out of range, which the driver had seen in range before
};

// Positions in a line: the unit of work of a kernel. The losses of each block are summed on their own.
struct Segment {
  const Problem* problem;
  ptrdiff_t positions;
  Plane logits;
  Plane output;           // the gradient, softmax or log-softmax; data may be null, or the logits' own
  bool output_streams;    // past the caches: the output is too large to stay there, and not the logits' own
  bool output_is_staged;  // the same for rows too short to be streamed each by itself, where the kernel can do it
  Plane probabilities;    // data may be null
  const int64_t* target;
  ptrdiff_t target_stride;
  const double* scale;  // the gradient's factor
  ptrdiff_t scale_stride;
  void* losses;  // may be null
  ptrdiff_t losses_stride;
  ScoreColumns scores;
  void* scratch;                // of scratch_bytes(…) or exponentials_bytes(…)
  const SharedClasses* shared;  // null unless several threads have a part of each of these positions
  ptrdiff_t block_positions;    // as many are one block; no less than `positions` if the segment lies in a single one
  SegmentResult* of_blocks;     // of all blocks but the last
};

// A label is read once, checked, and then used: the array itself may be changed meanwhile by another thread.
static inline int64_t read_once(const int64_t* label) { return *const_cast<const volatile int64_t*>(label); }

constexpr ptrdiff_t chunk_classes = 16384;  // classes whose sum is formed at once; fixed, since it decides on bits
constexpr ptrdiff_t chunks_of_row(ptrdiff_t classes) { return (classes + chunk_classes - 1) / chunk_classes; }
constexpr ptrdiff_t batch_positions = 64;            // positions handled together at most
constexpr ptrdiff_t few_classes = 64;                // up to here positions, not classes, are the lanes
constexpr ptrdiff_t few_row_classes = 128;           // and in the plainest of problems, of many positions, up to here
constexpr ptrdiff_t few_column_bytes = 4096;         // a position's classes, where positions lie side by side in memory
constexpr ptrdiff_t many_positions = 32;             // of which a batch is worth turning around
constexpr ptrdiff_t least_staged_classes = 32;       // shorter rows wait for their sums rather than for the memory
constexpr ptrdiff_t plain_row_bytes_at_most = 4096;  // in the plainest of problems, of rows that are read twice
constexpr ptrdiff_t staged_row_bytes_at_most = 2048;  // longer rows are streamed by themselves
constexpr ptrdiff_t lanes_at_most = 16;               // positions in a vector of floats
constexpr ptrdiff_t group_classes_at_most = 8 * lanes_at_most;

// Rows handled together: as many as a small L2 cache holds with room to spare.
static constexpr ptrdiff_t rows_per_batch(ptrdiff_t classes) {
  const ptrdiff_t rows = chunk_classes / classes;
  return rows < 1 ? 1 : rows > batch_positions ? batch_positions : rows;
}

// Whether columns are handled so many together: where the tile leaves a small L2 cache room.
static constexpr bool has_batches_of_columns(ptrdiff_t classes, Element element) {
  return classes * size_of(element) * batch_positions <= (1 << 19);
}

// From one row whose exponentials are kept to the next, so that each begins a vector and the last pair of vectors of a
// group is still its row's; and what all of them take, with room for the rest of a group.
static constexpr ptrdiff_t padded_classes(ptrdiff_t classes) {
  constexpr ptrdiff_t pair = 2 * lanes_at_most;
  return (classes + pair - 1) / pair * pair;
}
static constexpr ptrdiff_t side_by_side_elements(ptrdiff_t classes, ptrdiff_t positions) {
  const ptrdiff_t rows = rows_per_batch(classes);
  return (positions < rows ? positions : rows) * padded_classes(classes) + group_classes_at_most;
}

static constexpr ptrdiff_t computed_bytes(Element element) { return element == Element::f64 ? 8 : 4; }

// Whether the exponentials of a batch of rows may be kept for the output: those of a row in several chunks if the
// output streams, for which they are computed again otherwise, and if a second cache has room for them.
static constexpr bool may_keep_exponentials(ptrdiff_t classes, Element element, bool output_streams) {
  constexpr ptrdiff_t most_bytes = 1008 << 10;
  return classes <= chunk_classes || (output_streams && classes * computed_bytes(element) <= most_bytes);
}
static constexpr ptrdiff_t exponentials_bytes(ptrdiff_t classes, ptrdiff_t positions, Element element,
                                              bool output_streams) {
  if (!may_keep_exponentials(classes, element, output_streams)) return 0;
  return side_by_side_elements(classes, positions) * computed_bytes(element);
}

// For a batch of positions as lanes: whole pairs of vectors of classes where these are not few for all problems.
static constexpr ptrdiff_t tile_elements(ptrdiff_t classes) {
  const ptrdiff_t pair = 2 * lanes_at_most;
  return (classes <= few_classes ? classes : (classes + pair - 1) / pair * pair) * batch_positions;
}

// For the logits of a batch, for its probabilities or exponentials, and for output that waits.
static constexpr ptrdiff_t scratch_elements(ptrdiff_t classes, ptrdiff_t element_bytes) {
  const ptrdiff_t row = classes < chunk_classes ? classes : chunk_classes;
  const ptrdiff_t side_by_side = classes <= few_classes ? 0 : side_by_side_elements(row, batch_positions);
  const ptrdiff_t tile = classes * element_bytes <= few_column_bytes ? tile_elements(classes) : 0;
  return side_by_side > tile ? side_by_side : tile;
}
static constexpr ptrdiff_t scratch_bytes(ptrdiff_t classes, Element element, bool output_waits) {
  const int parts = output_waits ? 3 : 2;
  return parts * scratch_elements(classes, computed_bytes(element)) * computed_bytes(element);
}

// Elementwise binary cross-entropy over `count` elements, everything side by side in doubles.
struct BinarySegment {
  bool from_logits;
  ptrdiff_t count;
  const double *x, *target, *weight, *pos_weight, *scale;
  double *losses, *gradient;  // gradient may be null
};

// What class indices may be, and what a look at some of them finds: how many are not to be ignored, and whether one of
// these is no class.
struct TargetRange {
  ptrdiff_t classes;
  bool has_ignore_index;
  int64_t ignore_index;
};
struct TargetCount {
  ptrdiff_t counted;
  bool has_bad;
};

struct Kernels {
  const char* instruction_set;
  bool (*is_supported)();                          // by this CPU
  SegmentResult (*segment_float)(const Segment&);  // logits of float and of half precision
  SegmentResult (*segment_double)(const Segment&);
  void (*binary)(const BinarySegment&);
  TargetCount (*count_targets)(const int64_t* target, ptrdiff_t count, const TargetRange&);
};

}  // namespace crossent
