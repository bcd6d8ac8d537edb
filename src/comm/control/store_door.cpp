#include "comm/control/store_door.hpp"

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>

#include "comm/control/deadline.hpp"
#include "comm/control/plain_socket.hpp"
#include "comm/control/side_thread.hpp"
#include "comm/words.hpp"
#include "error/torch_error.hpp"
#include "fakescore/error.hpp"

namespace fakescore::detail {
namespace {

using std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::TCPStore>;

// A probe in less time would say nothing but that.
constexpr milliseconds kShortestProbe{500};
constexpr milliseconds kLongestProbe{5000};
constexpr milliseconds kShortestProbeNap{10};
constexpr milliseconds kLongestProbeNap{1000};
// What a probe may take beyond its patience, so that its own words are heard.
constexpr milliseconds kProbeGrace{200};
constexpr milliseconds kShortestJoin{1500};

[[noreturn]] void refuse_door(const StoreAddress& address, const std::string& message) {
  throw CommError({ErrorCode::kPeerLost, address.server_rank, "",
                   "store at " + address.host + ":" + std::to_string(address.port), message,
                   address.remedy});
}

/// How long a job has to join its store.
class JoinTime {
 public:
  explicit JoinTime(milliseconds timeout) : timeout_(timeout), end_(Clock::now() + timeout) {}
  milliseconds timeout() const { return timeout_; }
  milliseconds left() const { return std::chrono::ceil<milliseconds>(end_ - Clock::now()); }
  bool passed() const { return left().count() <= 0; }

 private:
  milliseconds timeout_;
  Clock::time_point end_;
};

/// On `thread`, which is of no more use once this throws: a resolver has no deadline.
StoreProbe probe_within(SideThread& thread, const StoreAddress& address, milliseconds left) {
  const milliseconds patience = std::clamp(left, kShortestProbe, kLongestProbe);
  auto probe = std::make_shared<StoreProbe>();
  const bool has_ended = thread.run([probe, host = address.host, port = address.port,
                                     patience] { *probe = probe_store(host, port, patience); },
                                    std::max(left, kShortestProbe) + kProbeGrace);
  if (has_ended) return std::move(*probe);
  return {"", "the name is still being resolved, or its addresses do not answer"};
}

/// Knocks until a store answers; the address of the one that does.
std::string find_store(const StoreAddress& address, const JoinTime& time) {
  SideThread thread;
  // Few probes: each asks the name server, which may answer fewer questions than all ranks have.
  for (milliseconds nap = kShortestProbeNap;; nap = std::min(2 * nap, kLongestProbeNap)) {
    StoreProbe probe = probe_within(thread, address, time.left());
    if (!probe.address.empty()) return std::move(probe.address);
    if (time.passed()) {
      refuse_door(address,
                  "cannot be joined within " + in_seconds(time.timeout()) + ": " + probe.failure);
    }
    std::this_thread::sleep_for(std::min(nap, time.left()));
  }
}

/// On a thread of its own: c10d waits without a deadline for what takes a connection and is silent.
StorePointer make_tcp_store(const StoreAddress& address, const std::string& host,
                            const c10d::TCPStoreOptions& options, const JoinTime& time) {
  auto store = std::make_shared<StorePointer>();
  SideThread thread;
  try {
    const bool is_made = thread.run(
        [store, host, options] { *store = c10::make_intrusive<c10d::TCPStore>(host, options); },
        std::max(time.left(), kShortestJoin));
    if (is_made) return std::move(*store);
  } catch (const std::exception& error) {
    const std::string text = describe(error);
    refuse_door(address, "cannot be joined: " + text.substr(0, text.find('\n')));
  }
  refuse_door(address, "does not answer within " + in_seconds(time.timeout()));
}

/// The socket to serve on; none where this process serves a store there already, which c10d shares.
Descriptor open_door(const StoreAddress& address) {
  try {
    return listen_on(address.port);
  } catch (const std::system_error& error) {
    const bool is_taken = error.code() == std::errc::address_in_use;
    if (is_taken && listens_on(address.port)) return Descriptor();
    refuse_door(address, "cannot be served on port " + std::to_string(address.port) + ": " +
                             (is_taken ? "another process listens on it" : error.code().message()));
  }
}

StorePointer serve_store(const StoreAddress& address, c10d::TCPStoreOptions options,
                         const JoinTime& time) {
  Descriptor door = open_door(address);
  options.isServer = true;
  if (door.get() >= 0) options.masterListenFd = door.release();  // the store closes it
  return make_tcp_store(address, "127.0.0.1", options, time);
}

}  // namespace

StorePointer join_tcp_store(const StoreAddress& address, milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(address.port);
  options.waitWorkers = false;
  // A process may make one communicator after the other on the same port.
  options.multiTenant = true;
  options.timeout = timeout;
  const JoinTime time(timeout);
  if (!address.is_server) return make_tcp_store(address, find_store(address, time), options, time);
  StorePointer store = serve_store(address, options, time);
  // That the others can find it as well.
  find_store(address, time);
  return store;
}

}  // namespace fakescore::detail
