// What the command line offers besides generating: looking into files, making synthetic
// checkpoints, knowing the machine, listing strategies.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tessera/api/model.h"
#include "tessera/base/result.h"

namespace tessera::api {

std::string Version();

struct TensorInfo {
  std::string name;
  std::string dtype;  // "bf16", "Q4_K"
  std::vector<int64_t> shape;
  int64_t bytes = 0;  // as stored
};

// ModelInfo from config and tensor headers alone; no weight is read.
struct Inspection {
  ModelInfo info;
  std::vector<TensorInfo> tensors;  // in name order
  int64_t file_bytes = 0;
  std::string tokenizer;     // "byte-level BPE, 4096 tokens", or why there is none
  std::string quantization;  // "70 x int4-g64, 1 x int8; gptq", or nothing
};
Result<Inspection> InspectModel(const std::string& path);

// One option of a strategy member, and one member: a row of `tessera strategies`.
struct StrategyOption {
  std::string name, default_value, accepted, help;
};
struct StrategyMember {
  std::string slot;  // decoder | commit | cache | canvas | diffusion
  std::string name, source, help, main_option;
  std::vector<StrategyOption> options;
};
std::vector<StrategyMember> ListStrategyMembers();

// Architectures that checkpoints may have: name and class in config.json.
struct ArchitectureInfo {
  std::string name, class_name, model_type, default_strategy;
};
std::vector<ArchitectureInfo> ListArchitectures();

struct SynthOptions {
  std::string config_path;  // a config.json, or a folder that holds one
  std::string output;       // folder to create; must not exist yet
  uint64_t seed = 0;
  std::string dtype = "bf16";  // bf16 | f32 | f16
  int64_t max_shard_bytes = 5'000'000'000;
  std::function<bool(int64_t, int64_t)> progress;  // (bytes, all bytes); false cancels
};
// Writes a random checkpoint that loads like a real one; nothing is left behind on failure.
Status Synthesize(const SynthOptions& options);

struct MachineReport {
  std::string cpu;
  int cores = 0;
  std::vector<std::string> isas;  // usable levels, weakest first
  int64_t memory_bytes = 0, available_bytes = 0;
  double read_gb_per_second_one = 0;                   // one core
  double read_gb_per_second_all = 0;                   // all cores
  std::vector<std::pair<std::string, double>> gflops;  // per isa and dtype, all cores
  std::vector<std::string> devices;                    // GPUs, or why there is none
};
MachineReport ExamineMachine();

// Bytes per second that `threads` threads (0: all cores) read memory with, far past any cache;
// `small`: a buffer that is quick to make, for tests.
class BandwidthProbe {
 public:
  explicit BandwidthProbe(int threads, bool small = false);
  ~BandwidthProbe();
  int threads() const;
  double Measure();  // about 0.2 s

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::api
