// Inside a training program that owns MPI: every rank gets the fake score, then takes optimizer
// steps on its own batch with gradients averaged over the ranks. All ranks stay bit-equal, and the
// loss falls.

#include <mpi.h>
#include <torch/torch.h>

#include <fakescore/fakescore.hpp>
#include <iostream>

namespace {

constexpr int kSteps = 20;
constexpr int64_t kBatch = 16;
constexpr double kLearningRate = 2e-4;

/// One rank's data: noisy images, what was added, when, and their labels. Random images stand in
/// for a student's samples, of which the teacher has seen none.
struct Batch {
  torch::Tensor noisy, noise, timestep, labels;
};

Batch make_batch(int rank) {
  torch::manual_seed(100 + static_cast<uint64_t>(rank));
  const auto clean = torch::rand({kBatch, 1, 8, 8}) * 2 - 1;
  const auto noise = torch::randn_like(clean);
  const auto timestep = torch::randint(0, 1000, {kBatch}, torch::kLong);
  const auto keep = (timestep.to(torch::kFloat) / 1000 * M_PI / 2).cos().view({-1, 1, 1, 1});
  return {keep * clean + (1 - keep * keep).sqrt() * noise, noise, timestep,
          torch::randint(0, 10, {kBatch}, torch::kLong)};
}

void average(torch::Tensor tensor, int world_size) {
  MPI_Allreduce(MPI_IN_PLACE, tensor.mutable_data_ptr<float>(), static_cast<int>(tensor.numel()),
                MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  tensor.div_(world_size);
}

float train_step(fakescore::DiTTransformer2DModel& model, torch::optim::Optimizer& optimizer,
                 const Batch& batch, int world_size) {
  const auto loss =
      (model.forward(batch.noisy, batch.timestep, batch.labels) - batch.noise).square().mean();
  optimizer.zero_grad();
  loss.backward();
  for (const auto& parameter : model.parameters()) average(parameter.grad(), world_size);
  optimizer.step();
  auto mean = loss.detach().clone();
  average(mean, world_size);
  return mean.item<float>();
}

int train(fakescore::Communicator& communicator, const std::filesystem::path& folder) {
  const auto result = fakescore::create_fake_score_meta(
      [&] { return fakescore::build_teacher_from_config(folder / "config.json"); },
      fakescore::TeacherSource::path(folder), communicator);
  auto& model = dynamic_cast<fakescore::DiTTransformer2DModel&>(*result.module);
  torch::optim::AdamW optimizer(model.parameters(),
                                torch::optim::AdamWOptions(kLearningRate).weight_decay(0));
  const Batch batch = make_batch(communicator.rank());
  torch::manual_seed(1);
  const float first = train_step(model, optimizer, batch, communicator.world_size());
  float last = first;
  for (int step = 1; step < kSteps; ++step) {
    last = train_step(model, optimizer, batch, communicator.world_size());
  }

  fakescore::DigestSequence weights;
  for (const auto& parameter : model.parameters()) {
    weights.add(fakescore::digest_tensor(parameter));
  }
  bool equal = true;
  const auto digests = communicator.all_gather(to_string(weights.value()), "weights");
  for (const auto& digest : digests) equal = equal && digest == digests.front();
  if (communicator.rank() == 0) {
    std::cout << "loss " << first << " -> " << last << " in " << kSteps << " steps on "
              << communicator.world_size() << " ranks\n"
              << "loss fell: " << std::boolalpha << (last < 0.8F * first)
              << ", weights equal on every rank: " << equal << std::endl;
  }
  return last < 0.8F * first && equal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: training MODEL_FOLDER\n";
    return 2;
  }
  MPI_Init(&argc, &argv);
  torch::set_num_threads(1);
  int code = 1;
  try {
    const auto communicator = fakescore::make_mpi_communicator();
    code = train(*communicator, argv[1]);
  } catch (const fakescore::CommError& error) {
    std::cerr << error.what() << std::endl;
    MPI_Abort(MPI_COMM_WORLD, 5);
  } catch (const fakescore::Error& error) {
    std::cerr << error.what() << '\n';
  }
  MPI_Finalize();
  return code;
}
