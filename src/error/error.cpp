#include "fakescore/error.hpp"

#include <new>
#include <utility>

#include "error/printable.hpp"
#include "error/torch_error.hpp"

namespace fakescore {
namespace {

std::string compose(const ErrorInfo& info) {
  std::string text = std::string(to_string(info.code)) + " error";
  if (info.rank >= 0) text += " on rank " + std::to_string(info.rank);
  if (!info.phase.empty()) text += " in " + info.phase;
  if (!info.subject.empty()) text += ": " + info.subject;
  text += ": " + info.message;
  if (!info.remedy.empty()) text += " (" + info.remedy + ")";
  // Names of files and tensors may be hostile, and what() ends at a NUL.
  return detail::printable(text);
}

}  // namespace

Error::Error(ErrorInfo info) : std::runtime_error(compose(info)), info_(std::move(info)) {}

void throw_error(ErrorInfo info) {
  switch (info.code) {
    case ErrorCode::kConfig:
      throw ConfigError(std::move(info));
    case ErrorCode::kTeacher:
      throw TeacherError(std::move(info));
    case ErrorCode::kBuild:
      throw BuildError(std::move(info));
    case ErrorCode::kMismatch:
      throw MismatchError(std::move(info));
    case ErrorCode::kMemory:
      throw MemoryError(std::move(info));
    case ErrorCode::kPeerLost:
      throw CommError(std::move(info));
    case ErrorCode::kInternal:
      break;
  }
  throw InternalError(std::move(info));
}

ErrorInfo describe_current_exception(int rank, const std::string& phase, ErrorCode fallback) {
  ErrorInfo info{fallback, rank, phase, "", "", ""};
  try {
    throw;
  } catch (const Error& error) {
    info = error.info();
    if (info.rank < 0) info.rank = rank;
    if (info.phase.empty()) info.phase = phase;
  } catch (const c10::OutOfMemoryError& error) {
    info.code = ErrorCode::kMemory;
    info.message = detail::describe(error);
  } catch (const c10::Error& error) {
    info.message = detail::describe(error);
    // The CPU allocator throws no class of its own.
    if (info.message.find("can't allocate memory") != std::string::npos) {
      info.code = ErrorCode::kMemory;
    }
  } catch (const std::bad_alloc&) {
    info.code = ErrorCode::kMemory;
    info.message = "out of host memory";
  } catch (const std::exception& error) {
    info.message = detail::describe(error);
  } catch (...) {
    info.message = "an exception that is not a std::exception";
  }
  return info;
}

const char* to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInternal:
      return "internal";
    case ErrorCode::kConfig:
      return "configuration";
    case ErrorCode::kTeacher:
      return "teacher";
    case ErrorCode::kBuild:
      return "build";
    case ErrorCode::kMismatch:
      return "mismatch";
    case ErrorCode::kMemory:
      return "memory";
    case ErrorCode::kPeerLost:
      return "lost peer";
  }
  return "internal";
}

}  // namespace fakescore
