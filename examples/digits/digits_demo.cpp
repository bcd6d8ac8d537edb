// The main job on a real teacher: every rank builds the fake score on meta, rank 0 alone reads the
// weights, and the LAST rank, which opened no file, samples digits from the module it received.
//
//   mpirun -n 4 digits_demo MODEL_FOLDER OUT.png

#include <fakescore/fakescore.hpp>
#include <iostream>

#include "contact_sheet.hpp"
#include "sampler.hpp"

namespace {

constexpr int64_t kPerDigit = 8;
constexpr int64_t kSteps = 50;
constexpr uint64_t kSeed = 7;

void print_report(const fakescore::MetaReport& report) {
  std::cout << "ranks      " << report.world_size << " (" << report.backend << ")\n"
            << "broadcast  " << report.bytes << " bytes in " << report.seconds << " s\n"
            << "digest     " << to_string(*report.digest) << ", the same on every rank\n"
            << "replayed  ";
  for (const std::string& name : report.replayed) std::cout << ' ' << name;
  std::cout << '\n';
  for (size_t rank = 0; rank < report.peak_host_bytes.size(); ++rank) {
    std::cout << "peak host memory, rank " << rank << ": "
              << report.peak_host_bytes[rank] / 1'000'000 << " MB\n";
  }
}

void run(fakescore::Communicator& communicator, const std::filesystem::path& folder,
         const std::filesystem::path& picture) {
  std::string config;
  fakescore::run_agreed(communicator, "config", fakescore::ErrorCode::kConfig, [&] {
    if (communicator.rank() == 0) config = fakescore::read_model_config(folder / "config.json");
  });
  config = communicator.broadcast_message(config, 0, "config");

  fakescore::MetaOptions options;
  options.verify = true;
  options.read = fakescore::TeacherRead::kRoot;  // the last rank opens no file
  const auto registry = fakescore::ModelRegistry::with_builtin_models();
  const auto result = fakescore::create_fake_score_meta([&] { return registry.build(config); },
                                                        fakescore::TeacherSource::path(folder),
                                                        communicator, options);
  if (communicator.rank() == 0) print_report(result.report);

  const int last = communicator.world_size() - 1;
  fakescore::run_agreed(communicator, "sample", fakescore::ErrorCode::kInternal, [&] {
    if (communicator.rank() != last) return;
    auto& model = dynamic_cast<fakescore::DiTTransformer2DModel&>(*result.module);
    const auto labels = torch::arange(10).repeat({kPerDigit});
    fakescore::digits::write_contact_sheet(
        picture, fakescore::digits::sample_digits(model, labels, kSteps, kSeed));
    std::cout << "rank " << last << " sampled " << labels.numel() << " digits into "
              << picture.string() << std::endl;
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: digits_demo MODEL_FOLDER OUT.png\n";
    return 2;
  }
  torch::set_num_threads(1);
  try {
    const auto communicator = fakescore::make_communicator(fakescore::detect_launch_env());
    try {
      run(*communicator, argv[1], argv[2]);
    } catch (const fakescore::CommError& error) {
      std::cerr << error.what() << std::endl;
      std::_Exit(5);  // peers are lost: finalising MPI would wait for them
    } catch (const std::exception& error) {
      if (communicator->rank() == 0) std::cerr << error.what() << '\n';
      return 1;
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
