// Trains with an exported optimizer in C++, without Python: a quadratic, whose loss falls. Beside the folder `served`:
//
//   l2o export --optimizer tensor_rnn --format saved_model --shapes "kernel=2x1,bias=1" --steps 100 --out served
//   g++ -w saved_model.cc -o saved_model $(python -c "import tensorflow as tf; lib = tf.sysconfig.get_lib();
//   print(*tf.sysconfig.get_compile_flags(), '-Wl,--no-as-needed', *tf.sysconfig.get_link_flags(),
//   '-l:libtensorflow_cc.so.2', '-Wl,-rpath,' + lib)")
//   ./saved_model served
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"

using Tensors = std::map<std::string, tensorflow::Tensor>;

// What a signature of the model gives for these inputs, by the names in the signature.
Tensors call(const tensorflow::SavedModelBundle& model, const std::string& name, const Tensors& inputs) {
  const auto& signature = model.GetSignatures().at(name);
  std::vector<std::pair<std::string, tensorflow::Tensor>> given;
  for (const auto& [input, info] : signature.inputs()) given.emplace_back(info.name(), inputs.at(input));
  std::vector<std::string> names, nodes;
  for (const auto& [output, info] : signature.outputs()) names.push_back(output), nodes.push_back(info.name());
  std::vector<tensorflow::Tensor> values;
  TF_CHECK_OK(model.GetSession()->Run(given, nodes, {}, &values));
  Tensors result;
  for (size_t i = 0; i < names.size(); ++i) result[names[i]] = values[i];
  return result;
}

int main(int count, char** arguments) {
  tensorflow::SavedModelBundle model;
  TF_CHECK_OK(tensorflow::LoadSavedModel({}, {}, arguments[1], {"serve"}, &model));
  Tensors all = call(model, "init", {});  // the state, to which come params, gradients, loss and step
  all["params_kernel"] = tensorflow::Tensor(tensorflow::DT_FLOAT, {2, 1});
  all["params_bias"] = tensorflow::Tensor(tensorflow::DT_FLOAT, {1});
  for (const char* name : {"params_kernel", "params_bias"}) all[name].flat<float>().setConstant(2.0f);
  for (int step = 0; step < 100; ++step) {
    float loss = 0;  // (w - 0.5)^2, summed over all params
    for (const std::string name : {"kernel", "bias"}) {
      auto params = all["params_" + name].flat<float>();
      tensorflow::Tensor gradient(tensorflow::DT_FLOAT, all["params_" + name].shape());
      gradient.flat<float>() = 2.0f * (params - 0.5f);
      for (int i = 0; i < params.size(); ++i) loss += (params(i) - 0.5f) * (params(i) - 0.5f);
      all["gradients_" + name] = gradient;
    }
    if (step % 10 == 0 || step == 99) std::printf("%d %.6g\n", step, loss);
    all["loss"] = tensorflow::Tensor(loss);
    all["step"] = tensorflow::Tensor(step);
    for (const auto& [name, value] : call(model, "update", all)) all[name] = value;
  }
}
