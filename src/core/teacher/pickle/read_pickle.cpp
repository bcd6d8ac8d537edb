#include "core/teacher/pickle/read_pickle.hpp"

#include "core/teacher/pickle/pickle_machine.hpp"

namespace fakescore::detail {

PickleValue read_pickle(std::span<const std::byte> pickle, const AllowsGlobal& allows,
                        const std::filesystem::path& file) {
  return PickleMachine(pickle, allows, file).run();
}

}  // namespace fakescore::detail
