#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fakescore/export.hpp"
#include "fakescore/fill/traffic.hpp"

namespace fakescore {

/// Bytes a second: of one rank while the others of its host do nothing, and of all ranks of a host
/// at once.
struct Rates {
  double rank = 0;
  double host = 0;
};

/// What the hosts of a job and the links between them give, measured (`fakescore measure`) or
/// stated. What is not there is not known: a prediction that needs it is an error.
struct Figures {
  std::string backend = "mpi";  ///< as TrafficOptions has it
  /// From cached files to memory that was written to right before.
  std::optional<Rates> copy;
  /// To memory that has no pages yet: what making them costs, and no more.
  std::optional<Rates> first_write;
  /// What ranks of one host receive from each other, in the same way.
  std::optional<Rates> message;
  std::optional<double> disk;  ///< of a host: files that its page cache does not have
  /// Of all hosts together, where what they read from is one. None: it is no bottleneck.
  std::optional<double> shared_disk;
  std::optional<double> link;       ///< of a host to others, and as much at once from them
  std::optional<double> to_device;  ///< of a rank: from host memory to its GPU
  /// Seconds that a control call takes for each rank of the job (docs/control.md).
  std::optional<double> control_seconds;
  double hop_seconds = 0;  ///< until a message is there, beside what its bytes take
};

/// From the JSON that `fakescore measure` writes, and back. `source` names the text in errors.
/// Throws ConfigError for text that is no such JSON, and for figures that are not above zero.
FAKESCORE_API Figures read_figures(const std::string& text, const std::string& source);
FAKESCORE_API std::string write_figures(const Figures& figures);

struct PredictOptions {
  bool cold = false;  ///< no page cache has the files
  bool on_gpu = false;
  uint64_t bucket_bytes = 0;  ///< of one broadcast
};

/// What all bytes go through.
struct Stage {
  std::string name;
  double seconds = 0;
  bool is_beside = true;  ///< at a time with the other stages; else before or after them
};

struct Prediction {
  double seconds = 0;
  std::string bottleneck;  ///< the stage that takes longest, or "control messages"
  std::vector<Stage> stages;
  double way_seconds = 0;      ///< until the first byte has reached the last rank
  double control_seconds = 0;  ///< for control messages
};

/// How long the fill of `traffic` takes from the agreement on the plan to its end, without building
/// the module and without `verify`: the slowest of its stages, and what no stage hides. Pure.
/// Throws ConfigError naming a figure that is needed and not there.
FAKESCORE_API Prediction predict(const Traffic& traffic, const JobShape& shape,
                                 const Figures& figures, const PredictOptions& options);

}  // namespace fakescore
