#include "chrome_trace.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

namespace fakescore::benchmark {
namespace {

using emulation::Operation;
using nlohmann::json;

constexpr double kNanosecondsPerMicrosecond = 1000;

/// Streams have small numbers of their own; LibTorch's numbers of threads are small as well.
constexpr uint64_t kFirstReader = 1000;

bool begins_with(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

/// Streams have no names: what runs on one tells which it is.
std::map<uint64_t, std::string> stream_names(const std::vector<Operation>& operations) {
  std::map<uint64_t, std::string> names;
  for (const Operation& operation : operations) {
    std::string& name = names[operation.stream];
    if (begins_with(operation.name, "nccl")) {
      name = "communication stream";
    } else if (name.empty() && operation.name == "copy h2d") {
      name = "copy stream";
    }
  }
  for (auto& [stream, name] : names) {
    if (name.empty()) name = "stream " + std::to_string(stream);
  }
  return names;
}

json name_event(const char* kind, int rank, uint64_t thread, const std::string& name) {
  return {{"ph", "M"}, {"name", kind}, {"pid", rank}, {"tid", thread}, {"args", {{"name", name}}}};
}

json span(const std::string& name, int rank, uint64_t thread, int64_t begin, int64_t end) {
  return {{"ph", "X"},
          {"name", name},
          {"pid", rank},
          {"tid", thread},
          {"ts", static_cast<double>(begin) / kNanosecondsPerMicrosecond},
          {"dur", static_cast<double>(end - begin) / kNanosecondsPerMicrosecond}};
}

void add_reads(json& events, int rank, const std::vector<FileRead>& reads) {
  uintptr_t first = std::numeric_limits<uintptr_t>::max();
  for (const FileRead& read : reads) first = std::min(first, read.address);
  std::map<uint64_t, uint64_t> threads;
  for (const FileRead& read : reads) {
    const uint64_t thread =
        threads.emplace(read.thread, kFirstReader + threads.size()).first->second;
    json event = span("read", rank, thread, read.begin, read.end);
    event["args"] = {{"bytes", read.bytes}, {"offset", read.address - first}};
    events.push_back(std::move(event));
  }
  for (const auto& [id, thread] : threads) {
    const std::string number = std::to_string(thread - kFirstReader);
    events.push_back(name_event("thread_name", rank, thread, "reader thread " + number));
  }
}

}  // namespace

json trace_events(int rank, const std::vector<FileRead>& reads,
                  const std::vector<Operation>& operations) {
  json events = json::array();
  events.push_back(name_event("process_name", rank, 0, "rank " + std::to_string(rank)));
  add_reads(events, rank, reads);
  for (const auto& [stream, name] : stream_names(operations)) {
    events.push_back(name_event("thread_name", rank, stream, name));
  }
  for (const Operation& operation : operations) {
    json event = span(operation.name, rank, operation.stream, operation.begin, operation.end);
    event["args"] = {{"bytes", operation.bytes}};
    events.push_back(std::move(event));
  }
  return events;
}

json merge_traces(const std::vector<json>& ranks) {
  json events = json::array();
  for (const json& rank : ranks) events.insert(events.end(), rank.begin(), rank.end());
  double first = std::numeric_limits<double>::max();
  for (const json& event : events) {
    if (event.contains("ts")) first = std::min(first, event["ts"].get<double>());
  }
  for (json& event : events) {
    if (event.contains("ts")) event["ts"] = event["ts"].get<double>() - first;
  }
  return {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
}

}  // namespace fakescore::benchmark
