#include "fakescore/comm/control_plane.hpp"

namespace fakescore {

std::unique_ptr<OwnWork> ControlPlane::begin_work(const std::string&) { return nullptr; }

}  // namespace fakescore
