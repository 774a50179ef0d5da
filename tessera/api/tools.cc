#include "tessera/api/tools.h"

#include <filesystem>
#include <fstream>

#include "tessera/api/internal/model_info.h"
#include "tessera/api/internal/quantization_config.h"
#include "tessera/backend/gpu.h"
#include "tessera/backend/machine.h"
#include "tessera/decode/registry.h"
#include "tessera/engine/loader.h"
#include "tessera/formats/model_files.h"
#include "tessera/models/synthetic.h"
#include "tessera/text/chat_template.h"
#include "tessera/text/tokenizer.h"

namespace tessera::api {
namespace {

namespace fs = std::filesystem;

Result<DType> ParseFileDtype(const std::string& dtype) {
  if (dtype == "bf16") return DType::kBF16;
  if (dtype == "f16") return DType::kF16;
  if (dtype == "f32") return DType::kF32;
  return InvalidArgument("dtype: got '{}', accepted: bf16, f16, f32", dtype);
}

std::string TorchName(DType dtype) {
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

// Removes a folder that this call created, unless told that all went well.
class FolderGuard {
 public:
  explicit FolderGuard(fs::path folder) : folder_(std::move(folder)) {}
  ~FolderGuard() {
    std::error_code ignored;
    if (!kept_) fs::remove_all(folder_, ignored);
  }
  void Keep() { kept_ = true; }

 private:
  fs::path folder_;
  bool kept_ = false;
};

Status WriteConfig(const fs::path& path, const nlohmann::json& config) {
  std::ofstream file(path);
  file << config.dump(2) << '\n';
  file.flush();
  if (!file) return ResourceExhausted("{}: cannot write; is the disk full?", path.string());
  return OkStatus();
}

}  // namespace

std::string Version() { return TESSERA_VERSION; }

Result<Inspection> InspectModel(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const engine::OpenedModel opened, engine::OpenModel(path));
  Inspection inspection;
  inspection.info = InfoOf(opened.config, *opened.architecture);
  inspection.info.path = path;
  inspection.info.default_strategy = opened.default_strategy;
  for (const std::string& name : opened.files.tensors->names()) {
    TESSERA_ASSIGN_OR_RETURN(tessera::TensorInfo tensor, opened.files.tensors->Describe(name));
    inspection.tensors.push_back({.name = name,
                                  .dtype = std::move(tensor.type),
                                  .shape = std::move(tensor.shape),
                                  .bytes = tensor.bytes});
  }
  for (const models::TensorSpec& expected : models::ListTensors(opened.config)) {
    TESSERA_RETURN_IF_ERROR(opened.files.tensors->CheckUsable(expected.name, expected.shape));
  }
  inspection.file_bytes = opened.files.tensors->total_bytes();
  inspection.info.dtype = inspection.tensors.empty() ? "" : inspection.tensors.front().dtype;
  inspection.quantization = DescribeQuantization(opened.files.config);
  const auto tokenizer = text::LoadTokenizer(opened.files.folder);
  inspection.info.has_tokenizer = tokenizer.ok();
  inspection.tokenizer = tokenizer.ok() ? fmt::format("{} tokens", (*tokenizer)->vocab_size())
                                        : tokenizer.status().message();
  inspection.info.has_chat_template =
      tokenizer.ok() && text::LoadChatTemplate(opened.files.folder).ok();
  return inspection;
}

std::vector<StrategyMember> ListStrategyMembers() {
  std::vector<StrategyMember> members;
  for (const decode::MemberInfo& info : decode::ListMembers()) {
    StrategyMember member{.slot = info.slot,
                          .name = info.name,
                          .source = info.source,
                          .help = info.help,
                          .main_option = info.main_option,
                          .options = {}};
    for (const decode::OptionSpec& option : info.options) {
      member.options.push_back({.name = option.name,
                                .default_value = decode::ToString(option.default_value),
                                .accepted = decode::AcceptedValues(option),
                                .help = option.help});
    }
    members.push_back(std::move(member));
  }
  return members;
}

std::vector<ArchitectureInfo> ListArchitectures() {
  std::vector<ArchitectureInfo> architectures;
  for (const models::Architecture* architecture : models::Architectures()) {
    architectures.push_back({.name = architecture->name,
                             .class_name = architecture->class_name,
                             .model_type = architecture->model_type,
                             .default_strategy = architecture->default_strategy});
  }
  return architectures;
}

Status Synthesize(const SynthOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const DType dtype, ParseFileDtype(options.dtype));
  if (options.max_shard_bytes < 1) {
    return InvalidArgument("shard bytes: got {}, accepted: 1 or more", options.max_shard_bytes);
  }
  const fs::path like = options.config_path;
  TESSERA_ASSIGN_OR_RETURN(nlohmann::json json, fs::is_directory(like)
                                                    ? ReadConfig(like.string())
                                                    : ReadJsonFile(like.string()));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject config, JsonObject::Of(json, like.string()));
  TESSERA_ASSIGN_OR_RETURN(const models::Architecture* architecture,
                           models::FindArchitecture(config));
  TESSERA_ASSIGN_OR_RETURN(const models::DecoderConfig decoder, architecture->parse(config));

  const fs::path output = options.output;
  std::error_code error;
  if (fs::exists(output)) {
    return InvalidArgument("{}: exists already; name a folder that does not", output.string());
  }
  if (!fs::create_directories(output, error) || error) {
    return NotFound("{}: cannot create the folder: {}", output.string(), error.message());
  }
  FolderGuard guard(output);
  TESSERA_RETURN_IF_ERROR(models::WriteSyntheticWeights(decoder, output.string(),
                                                        {.seed = options.seed,
                                                         .dtype = dtype,
                                                         .max_shard_bytes = options.max_shard_bytes,
                                                         .progress = options.progress}));
  json["torch_dtype"] = TorchName(dtype);
  TESSERA_RETURN_IF_ERROR(WriteConfig(output / "config.json", json));
  guard.Keep();
  return OkStatus();
}

MachineReport ExamineMachine() {
  const backend::Machine machine = backend::ExamineMachine();
  return {.cpu = machine.cpu,
          .cores = machine.cores,
          .isas = machine.isas,
          .memory_bytes = machine.memory_bytes,
          .available_bytes = machine.available_bytes,
          .read_gb_per_second_one = machine.read_bandwidth_one / 1e9,
          .read_gb_per_second_all = machine.read_bandwidth_all / 1e9,
          .gflops = machine.gflops,
          .devices = backend::Describe(backend::ExamineGpus(true))};
}

struct BandwidthProbe::Impl {
  backend::BandwidthProbe probe;
};

BandwidthProbe::BandwidthProbe(int threads, bool small)
    : impl_(new Impl{backend::BandwidthProbe(threads, small)}) {}
BandwidthProbe::~BandwidthProbe() = default;
int BandwidthProbe::threads() const { return impl_->probe.threads(); }
double BandwidthProbe::Measure() { return impl_->probe.Measure(); }

}  // namespace tessera::api
