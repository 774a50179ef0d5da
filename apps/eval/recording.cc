#include "apps/eval/recording.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "apps/eval/errors.h"

namespace tessera::eval {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

// Reads fields of one JSON object; remembers the first that is missing or wrong.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  std::string Text(const char* key) {
    return Has(key, [](const json& v) { return v.is_string(); }) ? object_[key].get<std::string>()
                                                                 : std::string();
  }
  int64_t Integer(const char* key, int64_t min, int64_t max) {
    const auto fits = [&](const json& v) { return v.is_number_integer() && v >= min && v <= max; };
    return Has(key, fits) ? object_[key].get<int64_t>() : 0;
  }
  uint64_t Seed(const char* key) {
    return Has(key, [](const json& v) { return v.is_number_unsigned(); })
               ? object_[key].get<uint64_t>()
               : 0;
  }
  float Number(const char* key) {
    const auto fits = [](const json& v) { return v.is_number() && std::isfinite(v.get<float>()); };
    return Has(key, fits) ? object_[key].get<float>() : 0;
  }
  bool Flag(const char* key) {
    return Has(key, [](const json& v) { return v.is_boolean(); }) && object_[key].get<bool>();
  }
  std::vector<api::TokenId> Ids(const char* key) {
    const auto fits = [](const json& v) {
      return v.is_array() && std::all_of(v.begin(), v.end(), [](const json& id) {
               return id.is_number_integer() && id >= 0 && id <= kMaxId;
             });
    };
    return Has(key, fits) ? object_[key].get<std::vector<api::TokenId>>()
                          : std::vector<api::TokenId>();
  }
  // Empty when it is absent.
  std::vector<int32_t> OptionalIds(const char* key) {
    return object_.contains(key) ? Ids(key) : std::vector<int32_t>();
  }
  std::vector<api::Placed> OptionalPlaced(const char* key) {
    return object_.contains(key) ? Placed(key) : std::vector<api::Placed>();
  }
  std::vector<api::Placed> Placed(const char* key) {
    const auto fits = [](const json& v) {
      return v.is_array() && std::all_of(v.begin(), v.end(), [](const json& p) {
               return p.is_array() && p.size() == 3 && p[0].is_number_integer() && p[0] >= 0 &&
                      p[0] <= kMaxId && p[1].is_number_integer() && p[1] >= 0 && p[1] <= kMaxId &&
                      p[2].is_number() && std::isfinite(p[2].get<float>());
             });
    };
    std::vector<api::Placed> placed;
    if (!Has(key, fits)) return placed;
    for (const json& p : object_[key]) {
      placed.push_back({.position = p[0].get<int32_t>(),
                        .token = p[1].get<int32_t>(),
                        .confidence = p[2].get<float>()});
    }
    return placed;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  template <typename Fits>
  bool Has(const char* key, const Fits& fits) {
    const bool good = object_.contains(key) && fits(object_[key]);
    if (!good && wrong_.empty()) wrong_ = key;
    return good;
  }

  const json& object_;
  std::string wrong_;
};

RecordedRun ReadRequest(Fields* fields) {
  RecordedRun run;
  run.version = fields->Text("version");
  run.model = fields->Text("model");
  run.model_hash = fields->Text("model_hash");
  run.device = fields->Text("device");
  run.dtype = fields->Text("dtype");
  api::GenerateRequest& request = run.request;
  request.strategy = fields->Text("strategy");
  request.ids = fields->Ids("prompt");
  request.max_new_tokens = static_cast<int32_t>(fields->Integer("max_new_tokens", 0, kMaxId));
  request.ignore_stop = fields->Flag("ignore_stop");
  request.whole_canvas = fields->Flag("whole_canvas");
  request.sampling = {.temperature = fields->Number("temperature"),
                      .top_k = static_cast<int32_t>(fields->Integer("top_k", 0, kMaxId)),
                      .top_p = fields->Number("top_p"),
                      .min_p = fields->Number("min_p"),
                      .repetition_penalty = fields->Number("repetition_penalty"),
                      .seed = fields->Seed("seed")};
  return run;
}

Json ToJson(std::span<const api::Placed> placed) {
  Json list = Json::array();
  for (const api::Placed& p : placed) list.push_back({p.position, p.token, p.confidence});
  return list;
}

Json RequestLine(int64_t run, const std::string& version, const api::ModelInfo& model,
                 const std::string& model_hash, const api::GenerateRequest& request) {
  const api::SamplingOptions& s = request.sampling;
  return {{"run", run},
          {"version", version},
          {"model", model.path},
          {"model_hash", model_hash},
          {"device", model.device},
          {"dtype", model.dtype},
          {"strategy", request.strategy.empty() ? model.default_strategy : request.strategy},
          {"max_new_tokens", request.max_new_tokens},
          {"ignore_stop", request.ignore_stop},
          {"whole_canvas", request.whole_canvas},
          {"temperature", s.temperature},
          {"top_k", s.top_k},
          {"top_p", s.top_p},
          {"min_p", s.min_p},
          {"repetition_penalty", s.repetition_penalty},
          {"seed", s.seed},
          {"prompt", request.ids}};
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::Open(const std::string& path,
                                                 const std::string& version) {
  std::unique_ptr<Recorder> recorder(new Recorder(path, version));
  recorder->file_.open(path, std::ios::binary | std::ios::trunc);
  if (!recorder->file_) return Missing("{}: cannot be written", path);
  return recorder;
}

int64_t Recorder::Follow(const api::ModelInfo& model, const std::string& model_hash,
                         api::GenerateRequest* request) {
  const int64_t run = next_++;
  file_ << RequestLine(run, version_, model, model_hash, *request).dump() << '\n';
  const auto before = std::move(request->on_step);
  request->on_step = [this, run, before](const api::StepView& step) {
    Json line = {{"run", run},
                 {"step", step.step},
                 {"kind", step.kind},
                 {"rows", step.rows},
                 {"placed", ToJson(step.placed)}};
    if (!step.edited.empty()) line["edited"] = ToJson(step.edited);
    if (!step.remasked.empty()) line["remasked"] = step.remasked;
    file_ << line.dump() << '\n';
    return before == nullptr || before(step);
  };
  return run;
}

void Recorder::End(int64_t run, const std::string& reason,
                   const std::vector<api::TokenId>& output) {
  const Json line = {{"run", run}, {"end", reason}, {"output", output}};
  file_ << line.dump() << '\n';
}

Status Recorder::Finish() {
  file_.close();
  return file_ ? OkStatus() : Missing("{}: could not be written to its end", path_);
}

Result<std::vector<RecordedRun>> ParseRecording(std::string_view text, const std::string& name) {
  std::vector<RecordedRun> runs;
  const auto add = [&](std::string_view line, int number) -> Status {
    const auto bad = [&](const std::string& what) {
      return BadData("{}:{}: {}; accepted: what --record wrote", name, number, what);
    };
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) return bad("not a JSON object");
    Fields fields(object);
    const int64_t run = fields.Integer("run", 0, kMaxId);
    if (object.contains("prompt")) {
      RecordedRun read = ReadRequest(&fields);
      read.run = run;
      if (fields.wrong().empty() && run != static_cast<int64_t>(runs.size())) {
        return bad(fmt::format("run {} after {} runs", run, runs.size()));
      }
      runs.push_back(std::move(read));
    } else {
      if (!fields.wrong().empty()) return bad("'run' is missing or wrong");
      if (run >= static_cast<int64_t>(runs.size())) return bad("a step before its request");
      RecordedRun& known = runs[static_cast<size_t>(run)];
      if (!known.end.empty()) return bad("a step after the end of its run");
      if (object.contains("end")) {
        known.end = fields.Text("end");
        known.output = fields.Ids("output");
        if (known.end.empty()) return bad("'end' is missing or wrong");
      } else {
        RecordedStep step{.step = static_cast<int32_t>(fields.Integer("step", 0, kMaxId)),
                          .kind = fields.Text("kind"),
                          .rows = static_cast<int32_t>(fields.Integer("rows", 0, kMaxId)),
                          .placed = fields.Placed("placed"),
                          .edited = fields.OptionalPlaced("edited"),
                          .remasked = fields.OptionalIds("remasked")};
        if (fields.wrong().empty() && step.step != static_cast<int32_t>(known.steps.size())) {
          return bad(fmt::format("step {} after {} steps", step.step, known.steps.size()));
        }
        known.steps.push_back(std::move(step));
      }
    }
    if (!fields.wrong().empty()) return bad("'" + fields.wrong() + "' is missing or wrong");
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(ForEachLine(text, add));
  if (runs.empty()) return BadData("{}: no recorded run", name);
  for (const RecordedRun& run : runs) {
    if (run.end.empty())
      return BadData("{}: run {} has no end; was it interrupted?", name, run.run);
  }
  return runs;
}

Result<RecordedRun> RunAgain(api::Model& model, const RecordedRun& recorded) {
  RecordedRun again;
  again.run = recorded.run;
  again.request = recorded.request;
  api::GenerateRequest request = recorded.request;
  request.on_step = [&](const api::StepView& step) {
    again.steps.push_back({.step = step.step,
                           .kind = std::string(step.kind),
                           .rows = step.rows,
                           .placed = {step.placed.begin(), step.placed.end()},
                           .edited = {step.edited.begin(), step.edited.end()},
                           .remasked = {step.remasked.begin(), step.remasked.end()}});
    return true;
  };
  TESSERA_ASSIGN_OR_RETURN(const api::GenerateResult result, model.Generate(request));
  again.end = result.finish_reason;
  again.output = result.output;
  return again;
}

std::string FirstDifference(const RecordedRun& recorded, const RecordedRun& again, double tolerance,
                            const api::Model& model) {
  const auto token = [&](api::TokenId id) {
    const bool known = id >= 0 && id < model.info().vocab;
    return fmt::format("{} {}", id,
                       json(known ? model.TokenText(id) : "")
                           .dump(-1, ' ', false, json::error_handler_t::replace));
  };
  // "position ...", or nothing.
  const auto difference = [&](const char* word, const std::vector<api::Placed>& a,
                              const std::vector<api::Placed>& b) -> std::string {
    for (size_t j = 0; j < std::min(a.size(), b.size()); ++j) {
      const api::Placed& p = a[j];
      const api::Placed& q = b[j];
      if (p.position != q.position) {
        return fmt::format("position {}: recorded {}, now position {}: {}", p.position,
                           token(p.token), q.position, token(q.token));
      }
      if (p.token != q.token) {
        return fmt::format("position {}: recorded {}, now {}", p.position, token(p.token),
                           token(q.token));
      }
      if (!(std::abs(p.confidence - q.confidence) <= tolerance)) {
        return fmt::format("position {}: recorded confidence {:.6f}, now {:.6f}", p.position,
                           p.confidence, q.confidence);
      }
    }
    if (a.size() == b.size()) return "";
    const bool less = a.size() > b.size();
    const api::Placed& first = less ? a[b.size()] : b[a.size()];
    return fmt::format("position {}: {} {}: {}", first.position, less ? "no longer" : "newly", word,
                       token(first.token));
  };
  const size_t steps = std::min(recorded.steps.size(), again.steps.size());
  for (size_t i = 0; i < steps; ++i) {
    const RecordedStep& a = recorded.steps[i];
    const RecordedStep& b = again.steps[i];
    if (a.kind != b.kind || a.rows != b.rows) {
      return fmt::format("step {}: recorded a {} forward of {} rows, now a {} forward of {} rows",
                         i, a.kind, a.rows, b.kind, b.rows);
    }
    for (const auto& [word, p, q] :
         {std::tuple("placed", &a.placed, &b.placed), std::tuple("edited", &a.edited, &b.edited)}) {
      if (const std::string what = difference(word, *p, *q); !what.empty()) {
        return fmt::format("step {}, {}", i, what);
      }
    }
    if (a.remasked != b.remasked) {
      return fmt::format("step {}: recorded positions {} taken back, now {}", i,
                         json(a.remasked).dump(), json(b.remasked).dump());
    }
  }
  if (recorded.steps.size() != again.steps.size()) {
    return fmt::format("step {}: recorded {} steps, now {}", steps, recorded.steps.size(),
                       again.steps.size());
  }
  if (recorded.end != again.end || recorded.output != again.output) {
    return fmt::format("after step {}: recorded {} tokens, end '{}', now {} tokens, end '{}'",
                       steps, recorded.output.size(), recorded.end, again.output.size(), again.end);
  }
  return "";
}

}  // namespace tessera::eval
