#include "plan_report.hpp"

#include <fmt/ranges.h>

#include <limits>

#include "format_bytes.hpp"
#include "json_file.hpp"
#include "print.hpp"
#include "report_parts.hpp"

namespace fakescore::launcher {
namespace {

std::string reason(TensorKind kind) {
  const bool is_missing = kind == TensorKind::kParameter || kind == TensorKind::kBuffer;
  return is_missing ? fmt::format("missing {}", to_string(kind)) : to_string(kind);
}

std::string reader_text(const DryRunReport& plan, const PlanOptions& options) {
  if (plan.world_size == 1) return "the one rank";
  const std::string saved = " for itself: only what is replayed travels";
  if (plan.read == TeacherRead::kEveryRank) return "every rank," + saved;
  if (plan.read == TeacherRead::kInTurns) return "every rank in turn, each byte once";
  if (options.read != "auto") return "the root, which sends it to the others";
  if (options.device != "cpu") return "the root; if all ranks see the files, every rank in turn";
  return "the root; if all ranks see the files, every rank in turn, or on one host every rank" +
         saved;
}

void print_memory(const DryRunReport& plan, const PlanOptions& options) {
  const PlannedMemory& memory = plan.memory;
  if (options.shape.ranks_per_copy > 1) {
    print(
        "memory      each rank  what it holds (below), and buckets; mapped files {} (page cache)\n",
        format_bytes(memory.mapped_files));
    return;
  }
  const uint64_t rank = memory.storage + memory.buckets;
  print("memory      each rank  {}: the module {}, buckets {}\n", format_bytes(rank),
        format_bytes(memory.storage), format_bytes(memory.buckets));
  if (plan.world_size > 1) {
    print("            all ranks  {}\n",
          format_bytes(rank * static_cast<uint64_t>(plan.world_size)));
  }
  const bool all_read = plan.read != TeacherRead::kRoot;
  print("            {} besides  mapped files {} (page cache), one copy of at most {}{}\n",
        all_read ? "each rank" : "rank 0", format_bytes(memory.mapped_files),
        format_bytes(memory.largest_copy),
        memory.pinned == 0 ? "" : ", pinned " + format_bytes(memory.pinned));
}

nlohmann::ordered_json memory_json(const PlannedMemory& memory) {
  return {{"storage", memory.storage},
          {"buckets", memory.buckets},
          {"largest_copy", memory.largest_copy},
          {"pinned", memory.pinned},
          {"mapped_files", memory.mapped_files}};
}

}  // namespace

void print_plan(const DryRunReport& plan, const RunDescription& run, const PlanOptions& options) {
  const size_t most = options.all ? std::numeric_limits<size_t>::max() : kKeysShown;
  const auto list = [&](const char* title, const std::vector<std::string>& keys) {
    print_keys(title, keys, most, " (--all)");
  };
  print_subject("dry run, fake score", run);
  print("ranks       {} ({})\n", plan.world_size, options.device);
  print("read by     {}\n", reader_text(plan, options));
  print_choice(plan.choice, most, " (--all)");
  print("on the wire {}, {} of it replayed; broadcasts {}\n", format_bytes(plan.wire_bytes),
        format_bytes(plan.replayed_bytes), plan.broadcasts);
  print_memory(plan, options);
  print("\n");
  // These are most of a model's keys, and need no attention.
  print_keys("in place", plan.in_place, options.all ? most : 0, "");
  list("cast", texts(plan.cast, cast_text));
  list("assembled", plan.assembled);
  list("replayed", texts(plan.replayed, [](const ReplayedTensor& tensor) {
         return fmt::format("{} ({})", tensor.name, reason(tensor.kind));
       }));
  list("missing", plan.missing);
  list("unexpected", plan.unexpected);
  list("skipped", plan.skipped);
  list("renamed", texts(plan.renamed, [](const RenamedKey& key) {
         return fmt::format("{} to {}", key.stored, key.name);
       }));
  list("shared", texts(plan.shared, [](const std::vector<std::string>& names) {
         return fmt::format("{}", fmt::join(names, " = "));
       }));
}

void write_plan(const std::filesystem::path& path, const DryRunReport& plan,
                const std::vector<Forecast>& forecasts, const RunDescription& run) {
  nlohmann::ordered_json json{{"teacher", run.teacher},
                              {"file", plan.choice.taken},
                              {"passed_over", plan.choice.passed_over},
                              {"class", run.class_name},
                              {"has_forward", run.has_forward},
                              {"world_size", plan.world_size},
                              {"read", to_string(plan.read)},
                              {"bytes", plan.wire_bytes},
                              {"replayed_bytes", plan.replayed_bytes},
                              {"broadcasts", plan.broadcasts},
                              {"memory", memory_json(plan.memory)},
                              {"in_place", plan.in_place},
                              {"cast", cast_json(plan.cast)},
                              {"assembled", plan.assembled}};
  json["replayed"] = nlohmann::ordered_json::array();
  for (const ReplayedTensor& tensor : plan.replayed) {
    json["replayed"].push_back(
        nlohmann::ordered_json{{"name", tensor.name}, {"reason", reason(tensor.kind)}});
  }
  json["missing"] = plan.missing;
  json["unexpected"] = plan.unexpected;
  json["skipped"] = plan.skipped;
  json["renamed"] = nlohmann::ordered_json::array();
  for (const RenamedKey& key : plan.renamed) {
    json["renamed"].push_back(nlohmann::ordered_json{{"stored", key.stored}, {"name", key.name}});
  }
  json["shared"] = plan.shared;
  json["forecasts"] = nlohmann::ordered_json::parse(to_json(forecasts));
  json["strict_failure"] = nullptr;
  if (plan.strict_failure) json["strict_failure"] = Error(*plan.strict_failure).what();
  write_json(path, std::move(json));
}

}  // namespace fakescore::launcher
