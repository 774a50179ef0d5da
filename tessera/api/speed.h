// Whose speed is followed: networks of published shapes and the forwards that decoding makes of
// them, with the times to reach. The same cases run on every device and in the peer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::api {

// LLaDA-8B, Dream-7B, SDAR-8B and Qwen3-8B, and one that is small enough for tests.
std::vector<std::string> ListNetworks();
// Its config.json with `layers` layers, 0: all of them.
Result<std::string> NetworkConfig(const std::string& network, int32_t layers);

struct SpeedCase {
  std::string network, format;
  ForwardShape shape;
  // Milliseconds to reach on an H200 and the floor they were set against; elsewhere, and where
  // target_ms is 0, their ratio is what is to be reached. No target: target_ratio is 0.
  double target_ms = 0;
  double target_ratio = 0;

  // "llada-8b:bf16:8x32x1280": sequences x rows x keys
  std::string Name() const;
};

// Every case with a target, cases of a network and format in a row.
std::vector<SpeedCase> ListSpeedCases();
// A case by name: a listed one, or any other of these networks, without a target.
Result<SpeedCase> ParseSpeedCase(const std::string& name);

// Bytes per second at which `device` (cpu, cuda:N) reads its memory, measured now; `small` is for
// tests: a buffer that is quick to make.
Result<double> MeasureReadBandwidth(const std::string& device, bool small = false);

}  // namespace tessera::api
