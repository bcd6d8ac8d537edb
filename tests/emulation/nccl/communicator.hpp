#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "nccl/operation.hpp"
#include "nccl/segment.hpp"
#include "runtime/broken_device.hpp"
#include "runtime/random.hpp"
#include "runtime/stream.hpp"

namespace fakescore::emulation {

/// One rank of an emulated ncclComm_t. After an error what it runs hangs until abort, as NCCL's
/// kernels do.
class Communicator : public std::enable_shared_from_this<Communicator> {
 public:
  Communicator(ncclUniqueId id, int size, int rank, int device, bool is_blocking);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int size() const { return size_; }
  int rank() const { return rank_; }
  int device() const { return device_; }
  bool is_blocking() const { return is_blocking_; }

  /// ncclInProgress while a call of a communicator that does not block is under way.
  ncclResult_t state() const { return state_; }

  /// Joins the others; returns at once where the communicator does not block.
  ncclResult_t init();
  /// Lets the peers know that the launch of these operations has come.
  void announce(const std::vector<NcclOperation>& operations);
  /// Puts the operations of one group on the stream, in the order of the calls, once all who take
  /// part have announced theirs: with NCCL the first launch connects them. Whoever blocks waits
  /// here, and gets the error where a peer never comes; then nothing is launched.
  ncclResult_t launch(const std::shared_ptr<Stream>& stream, std::vector<NcclOperation> operations);
  ncclResult_t finalize();
  /// Waits for all that was launched.
  void destroy();
  /// Lets go what hangs; what is launched still, ends without moving anything.
  void abort();

  Segment& segment() { return *segment_; }

  /// Waits, on the thread of a stream, until `done` holds. `deadlock` is asked from time to time
  /// whether the peers can ever make it hold: what it returns is the error where they cannot. False
  /// once the communicator was aborted, or the device is broken: the operation ends where it is.
  bool wait_until(const std::function<bool()>& done,
                  const std::function<std::optional<std::string>()>& deadlock = nullptr);

  /// An error of this rank's use, which all ranks get. Returns false after abort.
  bool fail_all_and_hang(const std::string& text);

  uint64_t rounds = 0;  ///< of collectives that this rank has entered

 private:
  ncclResult_t join();
  ncclResult_t check_devices();
  uint32_t partners(const std::vector<NcclOperation>& operations) const;
  ncclResult_t connect(const std::vector<NcclOperation>& operations);
  void enqueue(const std::shared_ptr<Stream>& stream, std::vector<NcclOperation> operations);
  void run(const std::vector<NcclOperation>& operations);
  enum class Outcome { kDone, kError, kOver };
  Outcome wait_for(const std::function<bool()>& done,
                   const std::function<std::optional<std::string>()>& deadlock = nullptr);
  ncclResult_t in_background(std::function<ncclResult_t()> job);
  Ticket last_launch();
  void fail_all(const std::string& text);
  ncclResult_t fail(ncclResult_t error, const std::string& text);
  bool hang_until_abort() const;
  std::string name_departed() const;
  bool is_over() const { return aborted_ || device_is_broken() || is_process_ending(); }
  ncclResult_t why_over() const;

  const ncclUniqueId id_;
  const int size_;
  const int rank_;
  const int device_;
  const bool is_blocking_;
  std::optional<Segment> segment_;
  std::shared_ptr<Stream> helper_;  ///< runs the calls of a communicator that does not block
  Delays delays_;                   ///< of those calls
  Delays look_delays_;              ///< of looks for a deadlock
  std::atomic<ncclResult_t> state_{ncclSuccess};
  std::atomic<bool> aborted_{false};
  std::atomic<int> running_{0};  ///< threads that use the segment
  std::mutex mutex_;
  Ticket last_launch_;
};

}  // namespace fakescore::emulation
