#include "tessera/backend/cpu/rates.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Each function carries its own target attribute; nothing else in this file needs one.
namespace tessera::cpu {
namespace {

std::atomic<int64_t> sink;  // keeps results alive

int64_t ReadPlain(const char* data, int64_t bytes) {
  int64_t sum = 0;
  for (int64_t i = 0; i < bytes; i += 8) {
    int64_t value;
    std::memcpy(&value, data + i, 8);
    sum ^= value;
  }
  return sum;
}

// Loops that run `rounds` rounds of kChains independent multiply-adds; return flop done.
constexpr int kChains = 12;

double F32Plain(int64_t rounds) {
  float acc[kChains * 4] = {};
  for (float& a : acc) asm volatile("" : "+m"(a));
  for (int64_t i = 0; i < rounds; ++i) {
    for (float& a : acc) a = a * 0.999f + 1.0f;
  }
  float sum = 0;
  for (const float a : acc) sum += a;
  sink.fetch_add(static_cast<int64_t>(sum));
  return 2.0 * kChains * 4 * static_cast<double>(rounds);
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) int64_t ReadAvx2(const char* data, int64_t bytes) {
  __m256i sum[4] = {};
  for (int64_t i = 0; i + 128 <= bytes; i += 128) {
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm256_xor_si256(
          sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
    }
  }
  sum[0] = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
  return _mm256_extract_epi64(sum[0], 0) ^ _mm256_extract_epi64(sum[0], 3);
}

template <int kAhead>
__attribute__((target("avx512f"))) int64_t ReadAvx512(const char* data, int64_t bytes) {
  __m512i sum[4] = {};
  for (int64_t i = 0; i + 256 <= bytes; i += 256) {
    for (int j = 0; j < 4; ++j) {
      if (kAhead > 0) __builtin_prefetch(data + i + 64 * j + kAhead, 0, 3);
      sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(data + i + 64 * j));
    }
  }
  sum[0] = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
  alignas(64) int64_t parts[8];
  _mm512_store_si512(parts, sum[0]);
  return parts[0] ^ parts[7];
}

// The empty asm statements hide that all chains hold equal values, which would be merged.
__attribute__((target("avx2,fma"))) double F32Avx2(int64_t rounds) {
  __m256 acc[kChains] = {};
  for (__m256& a : acc) asm volatile("" : "+x"(a));
  __m256 w = _mm256_set1_ps(0.999f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = _mm256_fmadd_ps(acc[c], w, w);
    asm volatile("" : "+x"(w));
  }
  float sum = 0;
  for (const __m256& a : acc) sum += _mm256_cvtss_f32(a);
  sink.fetch_add(static_cast<int64_t>(sum));
  return 2.0 * kChains * 8 * static_cast<double>(rounds);
}

__attribute__((target("avx512f"))) double F32Avx512(int64_t rounds) {
  __m512 acc[kChains] = {};
  for (__m512& a : acc) asm volatile("" : "+v"(a));
  __m512 w = _mm512_set1_ps(0.999f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_fmadd_ps(acc[c], w, w);
    asm volatile("" : "+v"(w));
  }
  float sum = 0;
  for (const __m512& a : acc) sum += _mm512_cvtss_f32(a);
  sink.fetch_add(static_cast<int64_t>(sum));
  return 2.0 * kChains * 16 * static_cast<double>(rounds);
}

__attribute__((target("avx512f,avx512bf16"))) double BF16Avx512(int64_t rounds) {
  __m512 acc[kChains] = {};
  for (__m512& a : acc) asm volatile("" : "+v"(a));
  __m512i w = _mm512_set1_epi16(0x3f80);
  for (int64_t i = 0; i < rounds; ++i) {
    const __m512bh v = reinterpret_cast<__m512bh>(w);
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], v, v);
    asm volatile("" : "+v"(w));
  }
  float sum = 0;
  for (const __m512& a : acc) sum += _mm512_cvtss_f32(a);
  sink.fetch_add(static_cast<int64_t>(sum));
  return 2.0 * kChains * 32 * static_cast<double>(rounds);
}

__attribute__((target("amx-tile,amx-bf16"))) double BF16Amx(int64_t rounds) {
  alignas(64) uint8_t config[64] = {};
  config[0] = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config[16 + 2 * tile] = 64;  // bytes per row
    config[48 + tile] = 16;      // rows
  }
  _tile_loadconfig(config);
  alignas(64) uint16_t ones[512];
  std::fill(ones, ones + 512, uint16_t{0x3f80});
  _tile_loadd(4, ones, 64);
  _tile_loadd(5, ones, 64);
  _tile_loadd(6, ones, 64);
  _tile_loadd(7, ones, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float out[256];
  _tile_stored(0, out, 64);
  _tile_release();
  sink.fetch_add(static_cast<int64_t>(out[0]));
  return 2.0 * 4 * 16 * 16 * 32 * static_cast<double>(rounds);
}

__attribute__((target("avx512f,avx512vnni"))) double Int8Vnni(int64_t rounds) {
  __m512i acc[kChains] = {};
  for (__m512i& a : acc) asm volatile("" : "+v"(a));
  __m512i w = _mm512_set1_epi8(1);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbusd_epi32(acc[c], w, w);
    asm volatile("" : "+v"(w));
  }
  __m512i sum = acc[0];
  for (int c = 1; c < kChains; ++c) sum = _mm512_add_epi32(sum, acc[c]);
  alignas(64) int32_t parts[16];
  _mm512_store_si512(parts, sum);
  sink.fetch_add(parts[0]);
  return 2.0 * kChains * 64 * static_cast<double>(rounds);
}

__attribute__((target("amx-tile,amx-int8"))) double Int8Amx(int64_t rounds) {
  alignas(64) uint8_t config[64] = {};
  config[0] = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config[16 + 2 * tile] = 64;  // bytes per row
    config[48 + tile] = 16;      // rows
  }
  _tile_loadconfig(config);
  alignas(64) int8_t ones[1024];
  std::fill(ones, ones + 1024, int8_t{1});
  _tile_loadd(4, ones, 64);
  _tile_loadd(5, ones, 64);
  _tile_loadd(6, ones, 64);
  _tile_loadd(7, ones, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  alignas(64) int32_t out[256];
  _tile_stored(0, out, 64);
  _tile_release();
  sink.fetch_add(out[0]);
  return 2.0 * 4 * 16 * 16 * 64 * static_cast<double>(rounds);
}

#endif

double ReadClock(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Best rate of several runs of about 2 ms.
double BestRate(double (*loop)(int64_t)) {
  double best = 0;
  int64_t rounds = 1000;
  for (int run = 0; run < 30;) {
    const double start = ThreadNow();
    const double flop = loop(rounds);
    const double seconds = ThreadNow() - start;
    if (seconds < 2e-3) {
      rounds *= 2;
      continue;
    }
    best = std::max(best, flop / seconds);
    ++run;
  }
  return best;
}

}  // namespace

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double ThreadNow() { return ReadClock(CLOCK_THREAD_CPUTIME_ID); }

double ProcessNow() { return ReadClock(CLOCK_PROCESS_CPUTIME_ID); }

double ReadBandwidth(const void* data, int64_t bytes, ThreadPool& pool) {
  using Reader = int64_t (*)(const char*, int64_t);
  std::vector<Reader> readers = {ReadPlain};
#if defined(__x86_64__)
  for (const cpu::Isa isa : cpu::AvailableIsas()) {
    if (isa == cpu::Isa::kAvx2) readers = {ReadAvx2};
    if (isa == cpu::Isa::kAvx512) {
      readers = {ReadAvx2, ReadAvx512<0>, ReadAvx512<1024>, ReadAvx512<4096>};
    }
  }
#endif
  double (*const now)() = pool.size() == 1 ? ThreadNow : Now;
  double best = 0;
  for (const Reader reader : readers) {
    const double start = now();
    pool.ParallelFor(bytes / 4096, /*grain=*/64, [&](int64_t begin, int64_t end, int) {
      const char* from = static_cast<const char*>(data) + begin * 4096;
      sink.fetch_add(reader(from, (end - begin) * 4096));
    });
    best = std::max(best, static_cast<double>(bytes) / (now() - start));
  }
  return best;
}

double PeakF32(cpu::Isa isa) {
#if defined(__x86_64__)
  if (isa == cpu::Isa::kAvx2) return BestRate(F32Avx2);
  if (isa >= cpu::Isa::kAvx512) return BestRate(F32Avx512);
#endif
  return BestRate(F32Plain);
}

double PeakBF16(cpu::Isa isa) {
#if defined(__x86_64__)
  if (isa == cpu::Isa::kAvx512Bf16) return BestRate(BF16Avx512);
  if (isa == cpu::Isa::kAmx) return BestRate(BF16Amx);
#endif
  return PeakF32(isa);
}

double PeakInt8([[maybe_unused]] cpu::Isa isa) {
#if defined(__x86_64__)
  if (isa == cpu::Isa::kAvx512Vnni || isa == cpu::Isa::kAvx512Bf16) return BestRate(Int8Vnni);
  if (isa == cpu::Isa::kAmx) return BestRate(Int8Amx);
#endif
  return 0;
}

}  // namespace tessera::cpu
