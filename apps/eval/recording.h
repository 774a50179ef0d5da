// Trajectories: every step of a run as JSON lines, to be run again and compared.
//
//   {"run": 0, "model": ..., "strategy": ..., "prompt": [ids], ...}        once per request
//   {"run": 0, "step": 0, "kind": "full", "rows": 96, "placed": [[position, id, confidence], ...]}
//       and, where tokens were replaced or taken back, "edited": as placed, "remasked": [positions]
//   {"run": 0, "end": "stop", "output": [ids]}
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/text.h"
#include "tessera/api/model.h"

namespace tessera::eval {

struct RecordedStep {
  int32_t step = 0;
  std::string kind;
  int32_t rows = 0;
  std::vector<api::Placed> placed, edited;
  std::vector<int32_t> remasked;
};

struct RecordedRun {
  int64_t run = 0;
  std::string version, model, model_hash, device, dtype;  // where it was made
  api::GenerateRequest request;                           // without callbacks
  std::vector<RecordedStep> steps;
  std::string end;  // finish reason
  std::vector<api::TokenId> output;
};

// Writes a file while requests run. Requests must end before the recorder does.
class Recorder {
 public:
  static Result<std::unique_ptr<Recorder>> Open(const std::string& path,
                                                const std::string& version);

  // Writes the request, whose prompt must be ids, and follows its steps; returns its number.
  int64_t Follow(const api::ModelInfo& model, const std::string& model_hash,
                 api::GenerateRequest* request);
  void End(int64_t run, const std::string& reason, const std::vector<api::TokenId>& output);
  // An error if anything could not be written.
  Status Finish();

 private:
  Recorder(std::string path, std::string version)
      : path_(std::move(path)), version_(std::move(version)) {}

  std::string path_, version_;
  std::ofstream file_;
  int64_t next_ = 0;
};

// Every run of a file must be whole: its request, steps counted from 0, its end.
Result<std::vector<RecordedRun>> ParseRecording(std::string_view text, const std::string& name);

// Runs the request again; the result holds steps, end and output.
Result<RecordedRun> RunAgain(api::Model& model, const RecordedRun& recorded);

// The first difference, naming step and position; "" when there is none. Positions, tokens, kinds
// and rows must be equal, confidences may differ by `tolerance`.
std::string FirstDifference(const RecordedRun& recorded, const RecordedRun& again, double tolerance,
                            const api::Model& model);

}  // namespace tessera::eval
