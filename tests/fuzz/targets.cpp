#include <array>

#include "fakescore/error.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/limits.hpp"
#include "fuzz/scratch_file.hpp"
#include "teacher/file/read_budget.hpp"
#include "teacher/formats/dcp/dcp_metadata.hpp"
#include "teacher/formats/pickle/read_pickle.hpp"
#include "teacher/formats/safetensors/safetensors_header.hpp"
#include "teacher/formats/torch_file/torch_globals.hpp"
#include "teacher/formats/torch_file/torch_records.hpp"
#include "teacher/source/checkpoint_index.hpp"
#include "teacher/source/open_teacher.hpp"

namespace fakescore::fuzz {
namespace {

constexpr const char* kInputName = "input";

std::span<const std::byte> bytes_of(const std::string& input) {
  return {reinterpret_cast<const std::byte*>(input.data()), input.size()};
}

void read_safetensors_header(const std::string& input) {
  const Limits limits("safetensors", input.size());
  detail::parse_safetensors_header(bytes_of(input), kInputName);
}

void read_index(const std::string& input) {
  static const ScratchFile file;
  const auto& path = file.write(input);
  const Limits limits("index", input.size());
  detail::read_checkpoint_index(path);
}

void read_zip(const std::string& input) {
  const Limits limits("zip", input.size());
  detail::ReadBudget budget(kInputName);
  const detail::TorchRecords records(bytes_of(input), budget);
  for (const char* name : {"data.pkl", "byteorder", "data/0", "constants.pkl"}) {
    if (records.has(name)) records.get(name);
  }
  records.digest();
}

void read_pickle(const std::string& input) {
  const Limits limits("pickle", input.size());
  detail::ReadBudget budget(kInputName, input.size());
  detail::read_pickle(bytes_of(input), detail::is_torch_file_global, detail::ForeignGlobals::kKeep,
                      budget);
}

void read_dcp(const std::string& input) {
  const Limits limits("dcp", input.size());
  detail::ReadBudget budget(kInputName, input.size());
  const detail::Pickle pickle = detail::read_pickle(
      bytes_of(input), detail::allowed_in_dcp_metadata, detail::ForeignGlobals::kRefuse, budget);
  detail::read_dcp_metadata(pickle.root, "", budget);
}

void read_tensors(Teacher& teacher) {
  Limits::stop_memory();
  for (size_t i = 0; i < teacher.tensors().size(); ++i) teacher.read(i);
}

void read_folder(const std::string& input) {
  static const ScratchFolder folder;
  const auto& path = folder.fill(parse_folder_input(input));
  const Limits limits("folder", input.size());
  read_tensors(*detail::open_teacher(path, {}));
}

void open_file(const std::string& input) {
  static const ScratchFile file;
  const auto& path = file.write(input);
  const Limits limits("open", input.size());
  TeacherPathOptions options;
  if (input.starts_with("PK")) options.key = ".";
  read_tensors(*detail::open_teacher(path, options));
}

std::string mutate_index(const std::string& input, Random& /*random*/, size_t max) {
  return mutate_bytes(input, max);
}

constexpr std::array<FuzzTarget, 7> kFuzzTargets{{
    {"safetensors", read_safetensors_header, mutate_safetensors},
    {"index", read_index, mutate_index},
    {"zip", read_zip, mutate_archive},
    {"pickle", read_pickle, mutate_pickle},
    {"dcp", read_dcp, mutate_pickle},
    {"folder", read_folder, mutate_folder},
    {"open", open_file, mutate_file},
}};

}  // namespace

std::span<const FuzzTarget> fuzz_targets() { return kFuzzTargets; }

}  // namespace fakescore::fuzz
