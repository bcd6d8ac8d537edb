#include "fakescore/fill/traffic.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>

#include "comm/bulk/shared_memory/shared_backend.hpp"
#include "fakescore/error.hpp"
#include "fill/broadcast_ways.hpp"
#include "fill/readers.hpp"
#include "fill/replicas.hpp"

namespace fakescore {
namespace {

using detail::BroadcastWay;

struct WhoReads {
  TeacherRead read = TeacherRead::kRoot;
  const char* reason = "";
};

WhoReads who_reads_whole(const JobShape& shape, const TrafficOptions& options) {
  if (options.read == TeacherRead::kEveryRank) {
    return {TeacherRead::kEveryRank, "asked for: every rank reads for itself"};
  }
  if (shape.hosts == 1 && !options.on_gpu) {
    return {TeacherRead::kEveryRank, "all ranks see the files, and have one page cache"};
  }
  return {TeacherRead::kInTurns,
          "all ranks see the files: each byte is read once, and every host's way to them is used"};
}

/// Whether hosts need so much alike that each reading its own would read much more than all of it,
/// as fill/replicas.cpp has it.
bool hosts_keep_the_same(const std::vector<PlannedTensor>& tensors, const JobShape& shape) {
  const auto hosts = static_cast<uint64_t>(shape.hosts);
  const auto copies = static_cast<uint64_t>(shape.world_size() / shape.ranks_per_copy);
  uint64_t once = 0;
  uint64_t again = 0;
  for (const PlannedTensor& tensor : tensors) {
    once += tensor.bytes;
    again += tensor.bytes * ((tensor.rows > 0 ? std::min(hosts, copies) : hosts) - 1);
  }
  return detail::kMuchReadAgain * again > once;
}

WhoReads who_reads_shards(const std::vector<PlannedTensor>& tensors, const JobShape& shape,
                          const TrafficOptions& options) {
  if (options.read == TeacherRead::kEveryRank) {
    return {TeacherRead::kEveryRank, "asked for: each rank reads what it holds"};
  }
  if (!hosts_keep_the_same(tensors, shape)) {
    return {TeacherRead::kEveryRank,
            "all ranks see the files: each reads what it holds, and nothing travels"};
  }
  return {TeacherRead::kInTurns,
          "all ranks see the files, and ranks of several hosts keep the same parts: these share "
          "their reading"};
}

WhoReads who_reads(const std::vector<PlannedTensor>& tensors, const JobShape& shape,
                   const TrafficOptions& options) {
  if (shape.world_size() == 1) return {TeacherRead::kRoot, "there is one rank"};
  if (options.read == TeacherRead::kRoot) {
    return {TeacherRead::kRoot, "asked for: the root reads and sends"};
  }
  if (options.all_see_files && options.read == TeacherRead::kInTurns) {
    return {TeacherRead::kInTurns, "asked for: the ranks share the reading"};
  }
  if (options.all_see_files) {
    return shape.ranks_per_copy > 1 ? who_reads_shards(tensors, shape, options)
                                    : who_reads_whole(shape, options);
  }
  if (options.read == TeacherRead::kAuto) {
    return {TeacherRead::kRoot, "not every rank sees the files: the root reads and sends"};
  }
  throw ConfigError(std::string("read ") + to_string(options.read),
                    "is not for files that some ranks do not see", "give auto or root");
}

void check_shape(const JobShape& shape, const TrafficOptions& options) {
  constexpr int kMostRanks = 10'000'000;
  if (shape.hosts < 1 || shape.ranks_per_host < 1 || shape.hosts > kMostRanks ||
      shape.ranks_per_host > kMostRanks / shape.hosts) {
    throw ConfigError("job shape",
                      std::to_string(shape.hosts) + " hosts with " +
                          std::to_string(shape.ranks_per_host) + " ranks each are no job",
                      "give 1 or more of each, and at most ten million ranks in all");
  }
  const int ranks = shape.world_size();
  if (shape.ranks_per_copy < 1 || ranks % shape.ranks_per_copy != 0) {
    throw ConfigError(
        "ranks of a copy",
        std::to_string(shape.ranks_per_copy) + " do not divide " + std::to_string(ranks) + " ranks",
        "give a number that does: 1 for whole tensors, " + std::to_string(ranks) +
            " for one copy that all ranks share");
  }
  if (options.root < 0 || options.root >= ranks) {
    throw ConfigError("root", std::to_string(options.root) + " is no rank",
                      "give 0 to " + std::to_string(ranks - 1));
  }
}

/// The bytes of a tensor's rows that each rank of a copy holds, as torch.chunk cuts them.
std::vector<uint64_t> parts_of(const PlannedTensor& tensor, int ranks) {
  const auto rows = static_cast<uint64_t>(tensor.rows);
  const uint64_t rows_each =
      (rows + static_cast<uint64_t>(ranks) - 1) / static_cast<uint64_t>(ranks);
  const uint64_t row_bytes = tensor.bytes / rows;
  std::vector<uint64_t> parts;
  for (uint64_t begin = 0; begin < rows; begin += rows_each) {
    parts.push_back(std::min(rows_each, rows - begin) * row_bytes);
  }
  return parts;
}

/// Of several that share `bytes` evenly, what number `i` has.
uint64_t share_of(uint64_t bytes, int i, int sharers) {
  const auto of = static_cast<uint64_t>(sharers);
  return bytes / of + (static_cast<uint64_t>(i) < bytes % of ? 1 : 0);
}

/// On CPUs of one host the ranks of a process group share memory (adopt_process_group).
std::string bulk_backend(const TrafficOptions& options, const JobShape& shape) {
  const bool shares = options.backend.starts_with("process group") && !options.on_gpu &&
                      shape.hosts == 1 && shape.world_size() <= detail::kMostSharingRanks;
  return shares ? detail::kSharedMemory : options.backend;
}

BroadcastWay way_of(const TrafficOptions& options, const JobShape& shape) {
  const auto way =
      detail::way_of_backend(bulk_backend(options, shape), shape.world_size(), options.on_gpu);
  if (way) return *way;
  throw ConfigError("backend", "\"" + options.backend + "\" is not known",
                    "give mpi, nccl, process group, store or local");
}

class TrafficPlan {
 public:
  TrafficPlan(const std::vector<PlannedTensor>& tensors, const JobShape& shape,
              const TrafficOptions& options)
      : tensors_(tensors), shape_(shape), options_(options), way_(way_of(options, shape)) {
    const WhoReads who = who_reads(tensors, shape, options);
    traffic_.read = who.read;
    traffic_.reason = who.reason;
    traffic_.ranks.resize(static_cast<size_t>(shape.world_size()));
    traffic_.hosts.resize(static_cast<size_t>(shape.hosts));
  }

  Traffic plan() {
    if (shape_.ranks_per_copy == 1) {
      plan_whole(tensors_);
    } else {
      plan_shards();
    }
    for (const PlannedTensor& tensor : tensors_) traffic_.whole_bytes += tensor.bytes;
    for (int rank = 0; rank < ranks(); ++rank) host(rank).read += of(rank).read;
    count_from_disk();
    return std::move(traffic_);
  }

 private:
  int ranks() const { return shape_.world_size(); }
  RankTraffic& of(int rank) { return traffic_.ranks[static_cast<size_t>(rank)]; }
  size_t host_of(int rank) const { return static_cast<size_t>(rank / shape_.ranks_per_host); }
  HostTraffic& host(int rank) { return traffic_.hosts[host_of(rank)]; }

  void send(int from, int to, uint64_t bytes) {
    of(from).sent += bytes;
    of(to).received += bytes;
    if (host_of(from) == host_of(to)) return;
    of(to).from_other_hosts += bytes;
    host(from).sent += bytes;
    host(to).received += bytes;
  }

  /// What ranks have whole for all others and send at a time, by rank.
  struct Stream {
    explicit Stream(int ranks)
        : passes_on(static_cast<size_t>(ranks)), other(static_cast<size_t>(ranks)) {}
    void add(const PlannedTensor& tensor, int rank) {
      (tensor.passes_on ? passes_on : other)[static_cast<size_t>(rank)] += tensor.bytes;
    }
    std::vector<uint64_t> passes_on;
    std::vector<uint64_t> other;
  };

  /// As fill/send_transfers.cpp has it.
  void send_stream(const Stream& stream) {
    const uint64_t bytes =
        std::accumulate(stream.passes_on.begin(), stream.passes_on.end(), uint64_t{0});
    if (detail::passes_on_by_hosts(
            {options_.backend, options_.on_gpu, shape_.hosts, ranks(), bytes})) {
      pass_on(stream.passes_on, bytes);
    } else {
      broadcast(stream.passes_on);
    }
    broadcast(stream.other);
  }

  /// Rank r broadcasts bytes[r].
  void broadcast(const std::vector<uint64_t>& bytes) {
    const uint64_t all = std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
    if (all == 0) return;
    detail::broadcast_from_each(way_, bytes,
                                [this](int from, int to, uint64_t sent) { send(from, to, sent); });
    traffic_.longest_way = std::max(traffic_.longest_way, detail::longest_way(way_, ranks()));
    traffic_.in_chains = detail::is_chain(way_);
    traffic_.sent_in_turn += all * times_over_the_busiest_link();
  }

  /// What rank r has goes from rank to rank, bytes[r]; `all` are those of all ranks.
  void pass_on(const std::vector<uint64_t>& bytes, uint64_t all) {
    detail::pass_on_from_each(bytes, shape_.ranks_per_host,
                              [this](int from, int to, uint64_t sent) { send(from, to, sent); });
    traffic_.whole_hops = ranks() - 1;
    traffic_.sent_in_turn += all;
  }

  /// How often one host sends a byte that is broadcast.
  uint64_t times_over_the_busiest_link() const {
    if (shape_.hosts == 1) return 0;
    if (detail::is_chain(way_)) return 1;
    if (way_ == BroadcastWay::kTree) {
      return static_cast<uint64_t>(detail::longest_way(way_, shape_.hosts));
    }
    return static_cast<uint64_t>(ranks() - shape_.ranks_per_host);
  }

  void plan_whole(const std::vector<PlannedTensor>& tensors) {
    std::vector<uint64_t> sizes;
    for (const PlannedTensor& tensor : tensors) sizes.push_back(tensor.bytes);
    std::vector<int> readers(sizes.size(), options_.root);
    if (traffic_.read == TeacherRead::kInTurns) readers = detail::share_reading(sizes, ranks());
    Stream of_teacher(ranks());
    Stream replayed(ranks());
    uint64_t filled = 0;
    uint64_t read_by_each = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      filled += sizes[i];
      if (tensors[i].replayed) {
        replayed.add(tensors[i], options_.root);
      } else if (traffic_.read == TeacherRead::kEveryRank) {
        read_by_each += sizes[i];
      } else {
        of_teacher.add(tensors[i], readers[i]);
        of(readers[i]).read += sizes[i];
      }
    }
    for (RankTraffic& rank : traffic_.ranks) {
      rank.filled += filled;
      rank.read += read_by_each;
    }
    whole_read_by_each_ += read_by_each;
    send_stream(of_teacher);
    send_stream(replayed);
  }

  void plan_shards() {
    std::vector<PlannedTensor> whole;
    for (const PlannedTensor& tensor : tensors_) {
      if (tensor.rows > 0) {
        add_parts(tensor);
      } else {
        whole.push_back(tensor);
      }
    }
    plan_whole(whole);
    for (size_t part = 0; part < read_.size(); ++part) move_part(static_cast<int>(part));
  }

  void add_parts(const PlannedTensor& tensor) {
    const auto parts = parts_of(tensor, shape_.ranks_per_copy);
    read_.resize(static_cast<size_t>(shape_.ranks_per_copy));
    for (size_t part = 0; part < parts.size(); ++part) {
      if (!tensor.replayed) read_[part] += parts[part];
      for (int rank = static_cast<int>(part); rank < ranks(); rank += shape_.ranks_per_copy) {
        of(rank).filled += parts[part];
      }
    }
  }

  std::vector<int> keepers(int part) const {
    std::vector<int> keepers;
    for (int rank = part; rank < ranks(); rank += shape_.ranks_per_copy) keepers.push_back(rank);
    return keepers;
  }

  void move_part(int part) {
    const uint64_t bytes = read_[static_cast<size_t>(part)];
    if (traffic_.read == TeacherRead::kInTurns) return share(bytes, keepers(part));
    if (traffic_.read == TeacherRead::kEveryRank) {
      for (const int rank : keepers(part)) of(rank).read += bytes;
      return;
    }
    of(options_.root).read += bytes;
    int from = options_.root;
    int passed_on = 0;
    for (const int rank : keepers(part)) {
      if (rank == options_.root) continue;
      send(from, rank, bytes);
      from = rank;
      ++passed_on;
    }
    if (bytes > 0) traffic_.part_hops = std::max(traffic_.part_hops, passed_on);
  }

  /// Ranks that keep the same bytes each read as much of them, and what one has read goes from rank
  /// to rank, host by host. That turns are of whole tensors is left out.
  void share(uint64_t bytes, const std::vector<int>& keepers) {
    const int sharers = static_cast<int>(keepers.size());
    std::map<size_t, uint64_t> read_on;  // by host
    std::vector<int> first_on_host;
    for (int i = 0; i < sharers; ++i) {
      const int rank = keepers[static_cast<size_t>(i)];
      const uint64_t own = share_of(bytes, i, sharers);
      of(rank).read += own;
      of(rank).sent += own * static_cast<uint64_t>(sharers - 1);
      of(rank).received += bytes - own;
      // The first one of a host gets it from another.
      if (!read_on.contains(host_of(rank))) first_on_host.push_back(rank);
      read_on[host_of(rank)] += own;
    }
    for (const int rank : first_on_host) {
      of(rank).from_other_hosts += bytes - read_on[host_of(rank)];
    }
    for (auto here = read_on.begin(); here != read_on.end(); ++here) {
      const auto next = std::next(here) != read_on.end() ? std::next(here) : read_on.begin();
      HostTraffic& host = traffic_.hosts[here->first];
      host.received += bytes - here->second;
      // All but what has begun at the next one, where it ends.
      host.sent += bytes - next->second;
    }
    if (read_on.size() > 1) traffic_.sent_in_turn += bytes;
    if (bytes > 0) traffic_.part_hops = std::max(traffic_.part_hops, sharers - 1);
  }

  /// Where each rank reads what it holds, a host's ranks may hold the same.
  void count_from_disk() {
    for (HostTraffic& each : traffic_.hosts) each.from_disk = each.read;
    if (traffic_.read != TeacherRead::kEveryRank) return;
    for (HostTraffic& each : traffic_.hosts) each.from_disk = whole_read_by_each_;
    const int distinct = std::min(shape_.ranks_per_host, static_cast<int>(read_.size()));
    for (int first = 0; first < ranks(); first += shape_.ranks_per_host) {
      for (int i = 0; i < distinct; ++i) {
        host(first).from_disk += read_[static_cast<size_t>((first + i) % shape_.ranks_per_copy)];
      }
    }
  }

  const std::vector<PlannedTensor>& tensors_;
  const JobShape& shape_;
  const TrafficOptions& options_;
  BroadcastWay way_;
  Traffic traffic_;
  std::vector<uint64_t> read_;  ///< by part: its bytes of the teacher
  uint64_t whole_read_by_each_ = 0;
};

}  // namespace

Traffic plan_traffic(const std::vector<PlannedTensor>& tensors, const JobShape& shape,
                     const TrafficOptions& options) {
  check_shape(shape, options);
  return TrafficPlan(tensors, shape, options).plan();
}

}  // namespace fakescore
