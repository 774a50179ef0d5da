#include "apps/cli/json_output.h"

#include <cmath>

#include "apps/cli/output.h"

namespace tessera::cli {

Json ToJson(const api::ModelInfo& info) {
  return {{"path", info.path},
          {"architecture", info.architecture},
          {"attention", info.attention},
          {"dtype", info.dtype},
          {"kv_cache_dtype", info.kv_cache_dtype},
          {"device", info.device},
          {"default_strategy", info.default_strategy},
          {"parameters", info.parameters},
          {"active_parameters", info.active_parameters},
          {"weight_bytes", info.weight_bytes},
          {"layers", info.layers},
          {"width", info.width},
          {"heads", info.heads},
          {"kv_heads", info.kv_heads},
          {"head_dim", info.head_dim},
          {"ffn_width", info.ffn_width},
          {"mixture_layers", info.mixture_layers},
          {"experts", info.experts},
          {"experts_per_row", info.experts_per_row},
          {"expert_width", info.expert_width},
          {"shared_width", info.shared_width},
          {"vocab", info.vocab},
          {"context", info.context},
          {"block", info.block},
          {"shifted_logits", info.shifted_logits},
          {"mask_id", info.mask_id},
          {"stop_ids", info.stop_ids},
          {"has_tokenizer", info.has_tokenizer},
          {"has_chat_template", info.has_chat_template},
          {"load_seconds", info.load_seconds}};
}

Json ToJson(const api::GenerateMetrics& metrics, const Rates& rates) {
  return {{"prompt_tokens", metrics.prompt_tokens},
          {"output_tokens", rates.tokens},
          {"forwards",
           {{"total", metrics.forwards()},
            {"full", metrics.full_forwards},
            {"window", metrics.window_forwards},
            {"finalise", metrics.finalise_forwards}}},
          {"joint_passes", metrics.joint_passes},
          {"rows", metrics.rows},
          {"reused_rows", metrics.reused_rows},
          {"probe_rows", metrics.probe_rows},
          {"rows_per_token", rates.rows_per_token},
          {"dropped", metrics.dropped},
          {"drift",
           {{"forwards", metrics.drift_forwards},
            {"mean", metrics.drift_mean},
            {"max", metrics.drift_max}}},
          {"edited", metrics.edited},
          {"remasked", metrics.remasked},
          {"drafted", metrics.drafted},
          {"accepted", metrics.accepted},
          {"seconds", rates.seconds},
          {"first_forward_seconds", metrics.first_forward_seconds},
          {"tokens_per_second", rates.tokens_per_second},
          {"tokens_per_forward", rates.tokens_per_forward},
          {"weights_gb_per_second", rates.weights_gb_per_second}};
}

Json ToJson(const std::vector<api::StrategyMember>& members) {
  Json list = Json::array();
  for (const api::StrategyMember& member : members) {
    Json options = Json::array();
    for (const api::StrategyOption& option : member.options) {
      options.push_back({{"name", option.name},
                         {"default", option.default_value},
                         {"accepted", option.accepted},
                         {"help", option.help}});
    }
    list.push_back({{"slot", member.slot},
                    {"name", member.name},
                    {"source", member.source},
                    {"help", member.help},
                    {"main_option", member.main_option},
                    {"options", options}});
  }
  return list;
}

Json ToJson(const api::MachineReport& report) {
  Json gflops = Json::object();
  for (const auto& [name, value] : report.gflops) gflops[name] = value;
  return {{"cpu", report.cpu},
          {"cores", report.cores},
          {"isas", report.isas},
          {"memory_bytes", report.memory_bytes},
          {"available_bytes", report.available_bytes},
          {"read_gb_per_second_one", report.read_gb_per_second_one},
          {"read_gb_per_second_all", report.read_gb_per_second_all},
          {"gflops", gflops},
          {"devices", report.devices}};
}

Json Rounded(const std::vector<float>& confidence) {
  Json list = Json::array();
  for (const float value : confidence) {
    list.push_back(std::round(static_cast<double>(value) * 1e6) / 1e6);
  }
  return list;
}

void PrintJson(const Json& json) {
  Out().Write(json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace));
  Out().Write("\n");
}

}  // namespace tessera::cli
