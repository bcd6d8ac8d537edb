#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>

#include "core/teacher/checkpoint_file.hpp"
#include "core/teacher/dcp/sharded_safetensors.hpp"
#include "core/teacher/safetensors_header.hpp"

namespace fakescore::detail {
namespace {

at::Tensor read_entry(const std::shared_ptr<const MappedFile>& file,
                      const SafetensorsEntry& entry) {
  auto* data = const_cast<std::byte*>(file->data() + entry.begin);
  const auto keep_mapped = [file](void*) {};
  const bool aligned = reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.dtype) == 0;
  if (aligned) return at::from_blob(data, entry.sizes, keep_mapped, at::dtype(entry.dtype));
  // Older writers do not pad the header: copy, since kernels need aligned elements.
  at::Tensor copy = at::empty(entry.sizes, entry.dtype);
  std::memcpy(copy.mutable_data_ptr(), data, copy.nbytes());
  return copy;
}

}  // namespace

CheckpointFile open_safetensors_file(const std::shared_ptr<const MappedFile>& file) {
  SafetensorsHeader header = parse_safetensors_header({file->data(), file->size()}, file->path());
  refuse_shard(header, file->path());
  CheckpointFile opened;
  opened.metadata = std::move(header.metadata);
  opened.header = digest_bytes(file->data(), header.bytes);
  for (const SafetensorsEntry& entry : header.entries) {
    opened.tensors.push_back({entry.name, entry.sizes, entry.dtype, entry.begin, true,
                              [file, entry] { return read_entry(file, entry); }});
  }
  return opened;
}

}  // namespace fakescore::detail
