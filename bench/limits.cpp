// What this machine can do at best: stream from memory, copy past the caches, count cycles.
// Compiled by limits.py for the machine it runs on; bytes are multiples of the size of a vector, arrays aligned to 64.

#include <omp.h>

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr std::size_t vector_bytes = 64;
#elif defined(__AVX__)
constexpr std::size_t vector_bytes = 32;
#else
constexpr std::size_t vector_bytes = 16;
#endif

typedef std::uint64_t Vector __attribute__((vector_size(vector_bytes), may_alias));

// A non-temporal store: the line goes to memory without being read first. Other machines store plainly.
inline void stream(Vector* to, Vector value) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(value));
#elif defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(value));
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(value));
#else
  *to = value;
#endif
}

inline void fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// Each thread's contiguous part of `count` vectors.
struct Part {
  std::size_t first, last;
  explicit Part(std::size_t count) {
    const std::size_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    first = count * thread / threads;
    last = count * (thread + 1) / threads;
  }
};

// Asks the memory for what is read so many bytes later: into all caches (locality 3) or all but the first (2).
template <std::size_t bytes, int locality>
inline void ask_ahead(const Vector* from) {
  __builtin_prefetch(reinterpret_cast<const char*>(from) + bytes, 0, locality);
}

// A thread reads `streams` places of its part in turn: more than one keeps more prefetchers busy. Some CPUs read faster
// if they are asked ahead of the hardware's own prefetching.
template <std::size_t streams, bool asks_ahead = false>
std::uint64_t read(const Vector* from, std::size_t count, int threads) {
  std::uint64_t all = 0;
#pragma omp parallel num_threads(threads) reduction(^ : all)
  {
    constexpr std::size_t step = 8 / streams;
    const Part part(count);
    const std::size_t stride = (part.last - part.first) / streams / step * step;
    Vector lanes[8] = {};
    for (std::size_t i = 0; i < stride; i += step)
      for (std::size_t s = 0; s < streams; ++s)
        for (std::size_t j = 0; j < step; ++j) {
          const Vector* next = from + part.first + s * stride + i + j;
          if (asks_ahead) ask_ahead<2048, 3>(next);
          lanes[s * step + j] ^= *next;
        }
    for (std::size_t i = part.first + streams * stride; i < part.last; ++i) lanes[0] ^= from[i];
    for (const Vector& lane : lanes)
      for (std::size_t j = 0; j < vector_bytes / sizeof(std::uint64_t); ++j) all ^= lane[j];
  }
  return all;
}

template <bool asks_ahead>
void copy(const Vector* from, Vector* to, std::size_t count, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const Part part(count);
    for (std::size_t i = part.first; i < part.last; ++i) {
      if (asks_ahead) ask_ahead<8192, 2>(from + i);
      stream(to + i, from[i]);
    }
    fence();
  }
}

}  // namespace

extern "C" {

// Read an array once; returns a value that depends on all of it.
std::uint64_t read_one_stream(const void* from, std::size_t bytes, int threads) {
  return read<1>(static_cast<const Vector*>(from), bytes / vector_bytes, threads);
}

std::uint64_t read_four_streams(const void* from, std::size_t bytes, int threads) {
  return read<4>(static_cast<const Vector*>(from), bytes / vector_bytes, threads);
}

std::uint64_t read_ahead(const void* from, std::size_t bytes, int threads) {
  return read<4, true>(static_cast<const Vector*>(from), bytes / vector_bytes, threads);
}

// Read two arrays side by side.
std::uint64_t read_two(const void* left, const void* right, std::size_t bytes, int threads) {
  const Vector *a = static_cast<const Vector*>(left), *b = static_cast<const Vector*>(right);
  std::uint64_t all = 0;
#pragma omp parallel num_threads(threads) reduction(^ : all)
  {
    const Part part(bytes / vector_bytes);
    Vector lanes[8] = {};
    std::size_t i = part.first;
    for (; i + 4 <= part.last; i += 4)
      for (std::size_t j = 0; j < 4; ++j) {
        lanes[j] ^= a[i + j];
        lanes[4 + j] ^= b[i + j];
      }
    for (; i < part.last; ++i) lanes[0] ^= a[i] ^ b[i];
    for (const Vector& lane : lanes)
      for (std::size_t j = 0; j < vector_bytes / sizeof(std::uint64_t); ++j) all ^= lane[j];
  }
  return all;
}

// Copy with non-temporal stores.
void copy_one(const void* from, void* to, std::size_t bytes, int threads) {
  copy<false>(static_cast<const Vector*>(from), static_cast<Vector*>(to), bytes / vector_bytes, threads);
}

void copy_ahead(const void* from, void* to, std::size_t bytes, int threads) {
  copy<true>(static_cast<const Vector*>(from), static_cast<Vector*>(to), bytes / vector_bytes, threads);
}

// Read two arrays and write one with non-temporal stores.
void copy_two(const void* left, const void* right, void* to, std::size_t bytes, int threads) {
  const Vector *a = static_cast<const Vector*>(left), *b = static_cast<const Vector*>(right);
  Vector* out = static_cast<Vector*>(to);
#pragma omp parallel num_threads(threads)
  {
    const Part part(bytes / vector_bytes);
    for (std::size_t i = part.first; i < part.last; ++i) stream(out + i, a[i] ^ b[i]);
    fence();
  }
}

// Run `count` tens of additions, each waiting for the one before: one cycle each.
void count_cycles(std::size_t count) {
  std::uint64_t sum = 1, one = 1;
  for (std::size_t i = 0; i < count; ++i)
    for (int j = 0; j < 10; ++j) {
#if defined(__aarch64__)
      asm volatile("add %0, %0, %1" : "+r"(sum) : "r"(one));
#else
      asm volatile("add %1, %0" : "+r"(sum) : "r"(one));
#endif
    }
}
}
