#include "tessera/text/sentence_piece.h"

#include <sentencepiece_processor.h>

#include <exception>

namespace tessera::text {

struct SentencePieceModel::Impl {
  sentencepiece::SentencePieceProcessor trained;
  sentencepiece::SentencePieceProcessor bare;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceModel::~SentencePieceModel() = default;

Result<std::unique_ptr<SentencePieceModel>> SentencePieceModel::FromBytes(std::string_view bytes) {
  auto impl = std::make_unique<Impl>();
  // ModelProto.normalizer_spec.add_dummy_prefix = false, appended: later protobuf fields override.
  std::string bare(bytes);
  bare.append("\x1A\x02\x18\x00", 4);
  try {
    auto status =
        impl->trained.LoadFromSerializedProto(absl::string_view(bytes.data(), bytes.size()));
    if (status.ok()) {
      status = impl->bare.LoadFromSerializedProto(absl::string_view(bare.data(), bare.size()));
    }
    if (!status.ok()) {
      return DataLoss("not a SentencePiece model libsentencepiece accepts: {}", status.ToString());
    }
  } catch (const std::exception& e) {
    return DataLoss("not a SentencePiece model libsentencepiece accepts: {}", e.what());
  }
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
}

Status SentencePieceModel::Encode(std::string_view utf8, bool dummy_prefix,
                                  std::vector<int32_t>* out) const {
  std::vector<int> ids;
  const auto& processor = dummy_prefix ? impl_->trained : impl_->bare;
  try {
    const auto status = processor.Encode(absl::string_view(utf8.data(), utf8.size()), &ids);
    if (!status.ok()) return Internal("libsentencepiece: {}", status.ToString());
  } catch (const std::exception& e) {
    return ResourceExhausted("libsentencepiece: {}", e.what());
  }
  out->insert(out->end(), ids.begin(), ids.end());
  return OkStatus();
}

int32_t SentencePieceModel::size() const { return impl_->trained.GetPieceSize(); }
std::string SentencePieceModel::Piece(int32_t id) const { return impl_->trained.IdToPiece(id); }
bool SentencePieceModel::IsSpecial(int32_t id) const {
  return impl_->trained.IsUnknown(id) || impl_->trained.IsControl(id);
}
int32_t SentencePieceModel::bos_id() const { return impl_->trained.bos_id(); }
int32_t SentencePieceModel::eos_id() const { return impl_->trained.eos_id(); }

}  // namespace tessera::text
