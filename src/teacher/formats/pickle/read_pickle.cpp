#include "teacher/formats/pickle/read_pickle.hpp"

#include "teacher/file/file_text.hpp"
#include "teacher/file/teacher_error.hpp"
#include "teacher/formats/pickle/pickle_machine.hpp"

namespace fakescore::detail {
namespace {

/// Those of large models have a few megabytes: tensors lie elsewhere.
constexpr size_t kMaxPickleBytes = 256 << 20;

}  // namespace

Pickle read_pickle(std::span<const std::byte> pickle, const KnowsGlobal& knows,
                   ForeignGlobals foreign, ReadBudget& budget) {
  if (pickle.size() > kMaxPickleBytes) {
    throw_teacher_error(budget.file(), "",
                        "its pickle has " + std::to_string(pickle.size()) + " bytes, of which " +
                            std::to_string(kMaxPickleBytes) + " are read at most",
                        "save the tensors without the rest: torch.save(state_dict, path)");
  }
  return PickleMachine(pickle, knows, foreign, budget).run();
}

void refuse_foreign_global(const ForeignGlobal& foreign, const ReadBudget& budget) {
  throw_teacher_error(budget.file(), "",
                      "its pickle, at byte " + std::to_string(foreign.byte) + ", names " +
                          shown(foreign.name) + ", which is neither a tensor nor a plain container",
                      "save the tensors alone: torch.save(model.state_dict(), path)");
}

}  // namespace fakescore::detail
