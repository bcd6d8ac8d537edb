#include "fakescore/fill/fill_options.hpp"

namespace fakescore {

const char* to_string(TeacherRead read) {
  switch (read) {
    case TeacherRead::kAuto:
      return "auto";
    case TeacherRead::kRoot:
      return "root";
    case TeacherRead::kEveryRank:
      return "all";
    case TeacherRead::kInTurns:
      return "turns";
  }
  return "unknown";
}

}  // namespace fakescore
