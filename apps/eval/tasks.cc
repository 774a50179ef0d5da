#include "apps/eval/tasks.h"

#include <algorithm>

#include "apps/eval/errors.h"
#include "apps/eval/fresh_tasks.h"
#include "apps/eval/gsm8k.h"
#include "apps/eval/parallel_bench.h"

namespace tessera::eval {
namespace {

constexpr std::string_view kHeldOut = "heldout/";
constexpr std::string_view kPb = "parallelbench/";
constexpr std::string_view kLikelihood = "likelihood";
constexpr size_t kFreshCases = 100;  // of a task that could have any number; ParallelBench's own

// "a/b@4" as "a/b" and 4; no length is 0.
Status SplitLength(const std::string& name, std::string* task, int* length) {
  const size_t at = name.find('@');
  *task = name.substr(0, at);
  *length = 0;
  if (at == std::string::npos) return OkStatus();
  int64_t items = 0;
  if (!ParseCount(std::string_view(name).substr(at + 1), 2, 50, &items)) {
    return BadRequest("task '{}': accepted after @: 2..50, the items of its lists", Quote(name));
  }
  *length = static_cast<int>(items);
  return OkStatus();
}

bool IsBelow(std::string_view name, std::string_view folder) {
  return name == folder || (name.starts_with(folder) && name[folder.size()] == '/');
}

}  // namespace

Status TaskSource::LoadHeldOut() {
  if (heldout_) return OkStatus();
  if (options_.heldout.empty()) {
    return Missing("there is no models/heldout.jsonl; pass --cases FILE");
  }
  TESSERA_ASSIGN_OR_RETURN(heldout_, ReadCases(options_.heldout));
  return OkStatus();
}

bool TaskSource::IsLikelihood(std::string_view name) { return name == kLikelihood; }

Result<std::vector<TaskInfo>> TaskSource::List() {
  std::vector<TaskInfo> tasks;
  const Status heldout = LoadHeldOut();
  if (heldout.ok()) {
    for (const Case& c : *heldout_) {
      const std::string name = std::string(kHeldOut) + c.task;
      const bool known = std::any_of(tasks.begin(), tasks.end(),
                                     [&](const TaskInfo& task) { return task.name == name; });
      if (!known) tasks.push_back({.name = name, .help = "cases of " + options_.heldout});
    }
  } else if (!options_.heldout.empty()) {
    return heldout;  // it was named, so it must be right
  }
  for (const FreshTask& task : FreshTasks())
    tasks.push_back({.name = task.name, .help = task.help});
  for (const PbTask& task : PbTasks()) {
    TaskInfo info{.name = std::string(kPb) + task.name,
                  .help = options_.data.empty() ? "ParallelBench, freshly made"
                                                : "ParallelBench, its own files"};
    if (std::string_view(task.name).starts_with("words")) info.help += "; grammar is not checked";
    if (task.refused != nullptr) info.refused = task.refused;
    if (!task.fresh && task.refused == nullptr) {
      info.help = "ParallelBench, its own files; ROUGE-L, grammar is not checked";
      if (options_.data.empty()) {
        info.refused = "its texts are in the benchmark's files only; pass --data FOLDER";
      }
    }
    tasks.push_back(std::move(info));
  }
  tasks.push_back({.name = "gsm8k",
                   .help = "questions in GSM8K's format",
                   .refused = options_.data.empty() ? "pass --data with its file or folder" : ""});
  tasks.push_back({.name = std::string(kLikelihood),
                   .help = "nats per token of the answers of heldout/..., nothing decoded",
                   .refused = heldout.ok() ? "" : heldout.message(),
                   .likelihood = true});
  return tasks;
}

Result<Strings> TaskSource::Expand(const std::string& name) {
  std::string task;
  int length = 0;
  TESSERA_RETURN_IF_ERROR(SplitLength(name, &task, &length));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<TaskInfo> all, List());
  Strings names, folders;
  for (const TaskInfo& info : all) {
    const std::string folder = info.name.substr(0, info.name.find('/'));
    if (std::find(folders.begin(), folders.end(), folder) == folders.end()) {
      folders.push_back(folder);
    }
    if (!IsBelow(info.name, task)) continue;
    if (!info.refused.empty()) {
      if (info.name == task) return BadRequest("task '{}': {}", Quote(name), info.refused);
      continue;
    }
    if (length != 0 && !info.name.starts_with(std::string(kPb) + "waiting_line")) {
      return BadRequest("task '{}': @ is for parallelbench/waiting_line tasks", Quote(name));
    }
    names.push_back(info.name + name.substr(std::min(name.find('@'), name.size())));
  }
  if (names.empty()) {
    return BadRequest(
        "no task '{}'; accepted: one of `tessera eval --list`, or a folder of them: {}", name,
        fmt::join(folders, ", "));
  }
  return names;
}

Result<std::vector<Case>> TaskSource::HeldOut(std::string_view task, size_t count) {
  TESSERA_RETURN_IF_ERROR(LoadHeldOut());
  std::vector<Case> cases;
  for (const Case& c : *heldout_) {
    if (task.empty() || c.task == task) cases.push_back(c);
  }
  if (cases.empty()) return BadRequest("{}: no cases of task '{}'", options_.heldout, task);
  return Spread(cases, count);
}

Result<std::vector<Case>> TaskSource::Cases(const std::string& name, uint64_t seed, size_t count) {
  std::string task;
  int length = 0;
  TESSERA_RETURN_IF_ERROR(SplitLength(name, &task, &length));
  const std::string_view view = task;
  if (view == kLikelihood) return HeldOut("", count);
  if (view.starts_with(kHeldOut)) return HeldOut(view.substr(kHeldOut.size()), count);
  const size_t fresh = count == 0 ? kFreshCases : count;
  for (const FreshTask& known : FreshTasks()) {
    if (known.name == view) return MakeFresh(known, seed, fresh);
  }
  if (view == "gsm8k") {
    if (options_.data.empty()) return BadRequest("gsm8k: pass --data with its file or folder");
    TESSERA_ASSIGN_OR_RETURN(const std::vector<Case> cases, ReadGsm8k(options_.data));
    return Spread(cases, count);
  }
  const PbTask* pb = view.starts_with(kPb) ? FindPbTask(view.substr(kPb.size())) : nullptr;
  if (pb == nullptr) return BadRequest("no task '{}'", Quote(name));
  if (options_.data.empty()) return MakePb(*pb, seed, fresh, length);
  TESSERA_ASSIGN_OR_RETURN(std::vector<Case> cases, ReadPb(*pb, options_.data));
  std::erase_if(cases, [&](const Case& c) {
    return length != 0 && (!c.meta.contains("n") || c.meta["n"] != length);
  });
  if (cases.empty()) return BadRequest("{}: the files have no list of {} items", name, length);
  return Spread(cases, count);
}

}  // namespace tessera::eval
