#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulation.hpp"
#include "runtime/random.hpp"

namespace fakescore::emulation {

class Stream;

/// A place in a stream: reached once the work pushed with this number, and so all before it, is
/// done.
struct Ticket {
  std::shared_ptr<Stream> stream;
  uint64_t number = 0;

  bool is_reached() const;
  void wait() const;
};

struct Work {
  /// As the timeline shows it. Work without a name is none of the device: it is not shown, nor
  /// delayed, and a broken device does not lose it.
  std::string name;
  uint64_t bytes = 0;
  Task run;
  std::vector<Ticket> after;
};

/// Runs work in order on a thread of its own, each piece a random time after it could have started.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  /// A default stream waits for, and is waited for by, the blocking streams of its device.
  enum class Kind { kDefault, kBlocking, kNonBlocking };

  static std::shared_ptr<Stream> create(int device, Kind kind, int priority);
  Stream(int device, Kind kind, int priority);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Ticket push(Work work);
  /// The place after all that was pushed so far.
  Ticket last();
  /// No more work comes; what was pushed still runs.
  void close();

  int device() const { return device_; }
  Kind kind() const { return kind_; }
  int priority() const { return priority_; }

 private:
  friend struct Ticket;
  void run_all();
  void run_one(Work work);

  const int device_;
  const Kind kind_;
  const int priority_;
  const uint64_t number_;
  Delays delays_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  uint64_t pushed_ = 0;
  uint64_t finished_ = 0;
  bool started_ = false;
  bool closed_ = false;
};

/// Whether the process is ending. Streams then start nothing more, since the libraries whose code
/// they run are being unloaded, and nobody waits for them.
bool is_process_ending();

}  // namespace fakescore::emulation
