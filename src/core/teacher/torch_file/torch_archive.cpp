#include "core/teacher/torch_file/torch_archive.hpp"

#include <string_view>
#include <utility>

#include "core/teacher/pickle/read_pickle.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

void check_byte_order(const TorchRecords& records) {
  if (!records.has("byteorder")) return;  // written since 2.1; the order was the machine's before
  const auto record = records.get("byteorder");
  const std::string_view order(reinterpret_cast<const char*>(record.data()), record.size());
  if (order != "little") {
    throw_teacher_error(records.file(), "", "holds its tensors in big-endian byte order",
                        "save it again on a little-endian machine: torch.save(torch.load(path), "
                        "path)");
  }
}

}  // namespace

TorchArchive::TorchArchive(std::span<const std::byte> bytes, std::shared_ptr<const void> keep,
                           std::filesystem::path file)
    : keep_(std::move(keep)), records_(bytes, std::move(file)) {
  if (!records_.has("data.pkl")) {
    throw_teacher_error(records_.file(), "", "is a zip archive, but none of torch.save",
                        "give a file that torch.save or torch.jit.save wrote");
  }
  check_byte_order(records_);
  object_ = read_pickle(records_.get("data.pkl"), torch_file_allows, records_.file());
}

}  // namespace fakescore::detail
