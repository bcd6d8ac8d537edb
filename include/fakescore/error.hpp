#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "fakescore/export.hpp"

namespace fakescore {

/// What kind of failure an Error is. Stable: the value travels between ranks.
enum class ErrorCode : int {
  kInternal = 1,  ///< an unexpected exception
  kConfig = 2,    ///< options, launch environment or arguments that cannot work
  kTeacher = 3,   ///< the teacher is missing, truncated, hostile or does not fit the module
  kBuild = 4,     ///< the module builder threw, or did what meta construction cannot do
  kMismatch = 5,  ///< ranks differ from each other
  kMemory = 6,    ///< out of memory
  kPeerLost = 7,  ///< a rank died, stalled or left; the communicator is broken
};

/// Everything an error says. Plain data, so that one rank's failure can be raised on every rank.
struct ErrorInfo {
  ErrorCode code = ErrorCode::kInternal;
  int rank = -1;        ///< the rank where it happened; -1 if it concerns no single rank
  std::string phase;    ///< "build", "agree", "plan", "place", "move", "replay", "verify", ...
  std::string subject;  ///< the tensor, file, operation or option that failed; may be empty
  std::string message;  ///< what happened
  std::string remedy;   ///< what to do; may be empty
};

/// Base of every exception that the library throws on purpose. `what()` is one line that names the
/// phase, the rank, the subject, what happened and what to do. It is safe to print: control
/// characters, characters that hide or turn text, and bytes that are not UTF-8 are escaped, as in
/// \x1b and \u202e. `info()` has the exact bytes.
class FAKESCORE_API Error : public std::runtime_error {
 public:
  explicit Error(ErrorInfo info);
  const ErrorInfo& info() const noexcept { return info_; }
  ErrorCode code() const noexcept { return info_.code; }
  int rank() const noexcept { return info_.rank; }

 private:
  ErrorInfo info_;
};

/// What the classes below share: one is made from all that it says, or from what the place that
/// fails knows; rank and phase are then filled in on the way up (describe_current_exception).
template <ErrorCode kCode>
class FAKESCORE_API CodedError : public Error {
 public:
  explicit CodedError(ErrorInfo info) : Error(std::move(info)) {}
  explicit CodedError(std::string subject, std::string message, std::string remedy = "")
      : Error({kCode, -1, "", std::move(subject), std::move(message), std::move(remedy)}) {}
};

class FAKESCORE_API InternalError : public CodedError<ErrorCode::kInternal> {
 public:
  using CodedError::CodedError;
};
class FAKESCORE_API ConfigError : public CodedError<ErrorCode::kConfig> {
 public:
  using CodedError::CodedError;
};
class FAKESCORE_API TeacherError : public CodedError<ErrorCode::kTeacher> {
 public:
  using CodedError::CodedError;
};
class FAKESCORE_API BuildError : public CodedError<ErrorCode::kBuild> {
 public:
  using CodedError::CodedError;
};
class FAKESCORE_API MismatchError : public CodedError<ErrorCode::kMismatch> {
 public:
  using CodedError::CodedError;
};
class FAKESCORE_API MemoryError : public CodedError<ErrorCode::kMemory> {
 public:
  using CodedError::CodedError;
};
/// A peer is lost. The communicator that raised it is broken: every later call on it raises at
/// once. The process should end without finalising MPI; see docs/errors.md.
class FAKESCORE_API CommError : public Error {
 public:
  using Error::Error;
};

/// Throws the class that belongs to `info.code`.
[[noreturn]] FAKESCORE_API void throw_error(ErrorInfo info);

/// Describes the exception being handled; call inside a catch block. An Error keeps what it says
/// (rank and phase are filled in if it names none), std::bad_alloc and c10::OutOfMemoryError become
/// kMemory, anything else gets the code `fallback`.
FAKESCORE_API ErrorInfo describe_current_exception(int rank, const std::string& phase,
                                                   ErrorCode fallback = ErrorCode::kInternal);

/// "teacher", "build", ...: the word for a code, as messages and reports use it.
FAKESCORE_API const char* to_string(ErrorCode code) noexcept;

}  // namespace fakescore
