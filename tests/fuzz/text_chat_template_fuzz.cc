// Arbitrary bytes as a chat template.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tessera/text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto context = nlohmann::ordered_json::parse(R"({"messages":[{"role":"system",
    "content":" You <are> "},{"role":"user","content":"h\u00e9llo"},{"role":"assistant","content":
    null,"tool_calls":[{"function":{"name":"f","arguments":{"a":[1,2.5,true,null]}}}]}],"tools":[
    {"type":"function","function":{"name":"f"}}],"add_generation_prompt":true,"bos_token":"<s>"})");
  const auto parsed = tessera::text::ChatTemplate::Parse(
      std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  tessera::text::RenderOptions options;
  options.max_steps = 20000;
  options.max_output = 1 << 16;
  options.now = 0;
  (void)parsed->Render(context, options);
  return 0;
}
