#include "teacher/formats/torch_file/torch_archive.hpp"

#include <string_view>

#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"

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

TorchArchive::TorchArchive(std::span<const std::byte> bytes, const std::filesystem::path& file,
                           ForeignGlobals foreign)
    : budget_(std::make_unique<ReadBudget>(file)), records_(bytes, *budget_) {
  if (!records_.has("data.pkl")) {
    throw_teacher_error(file, "", "is a zip archive, but not one that torch.save wrote",
                        "give a file that torch.save or torch.jit.save wrote");
  }
  check_byte_order(records_);
  const auto pickle = records_.get("data.pkl");
  budget_->add_bytes(pickle.size());
  pickle_ = read_pickle(pickle, is_torch_file_global, foreign, *budget_);
  tensors_ = std::make_unique<TorchTensors>(pickle_, records_, *budget_);
}

}  // namespace fakescore::detail
