// The fake score on every rank of a job: on one host every rank reads the teacher for itself, on
// several rank 0 alone opens it.

#include <fakescore/fakescore.hpp>
#include <iostream>

namespace {

int run(fakescore::Communicator& communicator, const std::filesystem::path& folder) {
  fakescore::MetaOptions options;
  options.verify = true;
  const auto result = fakescore::create_fake_score_meta(
      [&] { return fakescore::build_teacher_from_config(folder / "config.json"); },
      fakescore::TeacherSource::path(folder), communicator, options);
  if (communicator.rank() == 0) {
    std::cout << result.report.world_size << " ranks over " << result.report.backend << ", digest "
              << to_string(*result.report.digest) << " on every rank" << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: many_ranks MODEL_FOLDER\n";
    return 2;
  }
  try {
    const auto communicator = fakescore::make_communicator(fakescore::detect_launch_env());
    try {
      return run(*communicator, argv[1]);
    } catch (const fakescore::CommError& error) {
      std::cerr << error.what() << std::endl;
      std::_Exit(5);  // peers are lost: finalising MPI would wait for them
    }
  } catch (const fakescore::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
