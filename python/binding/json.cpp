#include "json.hpp"

#include <c10/core/Device.h>

#include <array>
#include <utility>

#include "fakescore/error.hpp"

namespace fakescore::python {
namespace {

using nlohmann::json;

TeacherRead read_of(const std::string& word) {
  for (const TeacherRead read :
       {TeacherRead::kAuto, TeacherRead::kRoot, TeacherRead::kEveryRank, TeacherRead::kInTurns}) {
    if (word == to_string(read)) return read;
  }
  throw ConfigError("option read", "is \"" + word + "\"", "give auto, root, all or turns");
}

json to_json(const std::optional<Digest>& digest) {
  return digest ? json(to_string(*digest)) : json(nullptr);
}

json to_json(const TeacherChoice& choice) {
  return {{"taken", choice.taken}, {"passed_over", choice.passed_over}};
}

json to_json(const std::vector<CastKey>& keys) {
  json list = json::array();
  for (const CastKey& key : keys) {
    list.push_back(
        {{"name", key.name}, {"from", c10::toString(key.from)}, {"to", c10::toString(key.to)}});
  }
  return list;
}

json to_json(const PlannedMemory& memory) {
  return {{"storage", memory.storage},
          {"buckets", memory.buckets},
          {"largest_copy", memory.largest_copy},
          {"pinned", memory.pinned},
          {"mapped_files", memory.mapped_files}};
}

}  // namespace

FillOptions fill_options(const std::string& text) {
  const json given = json::parse(text);
  FillOptions options;
  options.root = given.at("root");
  options.read = read_of(given.at("read"));
  options.device = c10::Device(given.at("device").get<std::string>());
  options.strict = given.at("strict");
  options.verify = given.at("verify");
  return options;
}

SyncOptions sync_options(const std::string& text) {
  const json given = json::parse(text);
  SyncOptions options;
  options.root = given.at("root");
  options.verify = given.at("verify");
  return options;
}

ForecastOptions forecast_options(const std::string& text, const FillOptions& fill) {
  const json given = json::parse(text);
  ForecastOptions options;
  options.shape = {given.at("hosts"), given.at("ranks_per_host"), given.at("ranks_per_copy")};
  options.traffic.read = fill.read;
  options.traffic.backend = "process group";
  options.traffic.root = fill.root;
  options.bucket_bytes = kDefaultBucketBytes;
  if (given.at("figures").is_string()) {
    options.figures = read_figures(given.at("figures"), given.at("figures_source"));
  }
  return options;
}

json to_json(const FillReport& report) {
  json phases = json::array();
  for (const PhaseReport& phase : report.phases) {
    phases.push_back({{"name", phase.name}, {"seconds", phase.seconds}, {"bytes", phase.bytes}});
  }
  return {{"world_size", report.world_size},
          {"backend", report.backend},
          {"read", to_string(report.read)},
          {"read_reason", report.read_reason},
          {"missing", report.missing},
          {"unexpected", report.unexpected},
          {"skipped", report.skipped},
          {"replayed", report.replayed},
          {"cast", to_json(report.cast)},
          {"choice", to_json(report.choice)},
          {"phases", std::move(phases)},
          {"bytes", report.bytes},
          {"seconds", report.seconds},
          {"read_bytes", report.read_bytes},
          {"sent_bytes", report.sent_bytes},
          {"received_bytes", report.received_bytes},
          {"hosts", report.hosts},
          {"link_sent_bytes", report.link_sent_bytes},
          {"link_received_bytes", report.link_received_bytes},
          {"peak_host_bytes", report.peak_host_bytes},
          {"peak_device_bytes", report.peak_device_bytes},
          {"digest", to_json(report.digest)}};
}

json to_json(const SyncReport& report) {
  return {{"bytes", report.bytes}, {"seconds", report.seconds}, {"digest", to_json(report.digest)}};
}

json to_json(const DryRunReport& report) {
  json replayed = json::array();
  for (const ReplayedTensor& tensor : report.replayed) {
    replayed.push_back({{"name", tensor.name}, {"kind", to_string(tensor.kind)}});
  }
  json renamed = json::array();
  for (const RenamedKey& key : report.renamed) {
    renamed.push_back({{"stored", key.stored}, {"name", key.name}});
  }
  return {{"world_size", report.world_size},
          {"choice", to_json(report.choice)},
          {"in_place", report.in_place},
          {"cast", to_json(report.cast)},
          {"assembled", report.assembled},
          {"replayed", std::move(replayed)},
          {"missing", report.missing},
          {"unexpected", report.unexpected},
          {"skipped", report.skipped},
          {"renamed", std::move(renamed)},
          {"shared", report.shared},
          {"wire_bytes", report.wire_bytes},
          {"replayed_bytes", report.replayed_bytes},
          {"broadcasts", report.broadcasts},
          {"memory", to_json(report.memory)},
          {"strict_failure",
           report.strict_failure ? json(Error(*report.strict_failure).what()) : json(nullptr)}};
}

at::ScalarType dtype_of(const std::string& name) {
  constexpr std::array<std::pair<const char*, at::ScalarType>, 9> kDtypes{{
      {"float64", at::kDouble},
      {"float32", at::kFloat},
      {"float16", at::kHalf},
      {"bfloat16", at::kBFloat16},
      {"float8_e4m3fn", at::kFloat8_e4m3fn},
      {"float8_e5m2", at::kFloat8_e5m2},
      {"int64", at::kLong},
      {"int32", at::kInt},
      {"complex64", at::kComplexFloat},
  }};
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known) return dtype;
  }
  throw ConfigError("dtype", name + " is not a floating-point dtype",
                    "give a dtype in which parameters can be trained, or leave it out");
}

}  // namespace fakescore::python
