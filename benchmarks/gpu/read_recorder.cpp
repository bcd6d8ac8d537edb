#include "read_recorder.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>

namespace fakescore::benchmark {
namespace {

constexpr const char* kReadName = "fakescore::read";

/// LibTorch's callbacks are plain functions, so what they write to cannot be a member.
struct Record {
  std::mutex mutex;
  std::vector<FileRead> reads;
};

Record& record() {
  static Record record;
  return record;
}

int64_t monotonic_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

struct OpenRead : at::ObserverContext {
  FileRead read;
};

std::unique_ptr<at::ObserverContext> begin_read(const at::RecordFunction& function) {
  if (std::strcmp(function.name(), kReadName) != 0) return nullptr;
  const at::Tensor& source = function.inputs().front().toTensor();
  auto open = std::make_unique<OpenRead>();
  open->read.thread = function.threadId();
  open->read.address = reinterpret_cast<uintptr_t>(source.const_data_ptr());
  open->read.bytes = source.nbytes();
  open->read.begin = monotonic_ns();
  return open;
}

void end_read(const at::RecordFunction&, at::ObserverContext* context) {
  auto* const open = static_cast<OpenRead*>(context);
  if (open == nullptr) return;
  open->read.end = monotonic_ns();
  const std::lock_guard<std::mutex> lock(record().mutex);
  record().reads.push_back(open->read);
}

}  // namespace

ReadRecorder::ReadRecorder()
    : callback_(at::addGlobalCallback(at::RecordFunctionCallback(begin_read, end_read)
                                          .needsInputs(true)
                                          .scopes({at::RecordScope::USER_SCOPE}))) {
  record().reads.clear();
}

ReadRecorder::~ReadRecorder() { at::removeCallback(callback_); }

std::vector<FileRead> ReadRecorder::reads() const {
  const std::lock_guard<std::mutex> lock(record().mutex);
  return record().reads;
}

uint64_t distinct_bytes(std::vector<FileRead> reads) {
  std::sort(reads.begin(), reads.end(),
            [](const FileRead& a, const FileRead& b) { return a.address < b.address; });
  uint64_t bytes = 0;
  uintptr_t reached = 0;
  for (const FileRead& read : reads) {
    const uintptr_t end = read.address + read.bytes;
    if (end <= reached) continue;
    bytes += end - std::max(read.address, reached);
    reached = end;
  }
  return bytes;
}

}  // namespace fakescore::benchmark
