#include "comm/control/store_work.hpp"

#include <utility>

#include "comm/control/heartbeat.hpp"
#include "comm/control/store_frame.hpp"

namespace fakescore::detail {
namespace {

std::string signs_key(const std::string& prefix) { return prefix + "signs"; }
std::string work_key(const std::string& prefix) { return prefix + "work"; }

}  // namespace

WorkLook look_for_work(c10d::Store& store, const std::string& prefix, int64_t seen) {
  WorkLook look;
  look.signs = store.add(signs_key(prefix), 0);
  if (look.signs == seen) return look;
  const Step work = unpack(store.get(work_key(prefix))).step;
  look.rank = work.root;
  look.times_together = work.bytes;
  look.what = work.what;
  return look;
}

std::unique_ptr<OwnWork> write_work(c10::intrusive_ptr<c10d::Store> store,
                                    const std::string& prefix, const WorkLook& work,
                                    std::chrono::milliseconds timeout,
                                    std::shared_ptr<const std::atomic<bool>> waits) {
  const Step step{CallKind::kAllGather, work.rank, work.times_together, work.what};
  return make_heartbeat(timeout, [store = std::move(store), prefix, waits = std::move(waits),
                                  value = pack(step, nullptr, 0)] {
    if (*waits) return;
    // The value first: who sees the count reads it.
    store->set(work_key(prefix), value);
    store->add(signs_key(prefix), 1);
  });
}

}  // namespace fakescore::detail
