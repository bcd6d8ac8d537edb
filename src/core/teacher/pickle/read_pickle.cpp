#include "core/teacher/pickle/read_pickle.hpp"

#include "core/teacher/pickle/pickle_machine.hpp"
#include "core/teacher/teacher_error.hpp"

namespace fakescore::detail {
namespace {

/// A value in memory takes several times its bytes in the pickle. Those of large models have a few
/// megabytes: tensors lie elsewhere.
constexpr size_t kMaxPickleBytes = 256 << 20;

}  // namespace

PickleValue read_pickle(std::span<const std::byte> pickle, const AllowsGlobal& allows,
                        const std::filesystem::path& file) {
  if (pickle.size() > kMaxPickleBytes) {
    throw_teacher_error(file, "",
                        "its pickle has " + std::to_string(pickle.size()) + " bytes, of which " +
                            std::to_string(kMaxPickleBytes) + " are read at most",
                        "save the tensors without the rest: torch.save(state_dict, path)");
  }
  return PickleMachine(pickle, allows, file).run();
}

}  // namespace fakescore::detail
