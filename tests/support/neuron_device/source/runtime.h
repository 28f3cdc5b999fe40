// The runtime of the stand-in: which core the process has, when it is opened, and who is told of what the host does.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <atomic>
#include <map>
#include <mutex>
#include <sstream>
#include <string>

#include <ATen/ATen.h>

namespace standin {

constexpr auto kNeuron = c10::DeviceType::PrivateUse1;

// The index of the only device that the process has; LOCAL_RANK, as TorchNeuron's is.
inline c10::DeviceIndex own_index = 0;
inline c10::Device own_device() { return {kNeuron, own_index}; }

// Both are functions of Python. They live as long as the process.
inline std::atomic<PyObject*> opener{nullptr};
inline std::atomic<PyObject*> observer{nullptr};
inline std::atomic<bool> is_open{false};

// Open the device at the first touch. The opener returns why that is refused, or an empty string.
inline void touch() {
  if (is_open.load()) return;
  TORCH_CHECK(opener.load() != nullptr, "neuron: torch_neuronx has not been imported");
  std::string refusal;
  {
    pybind11::gil_scoped_acquire locked;
    refusal = pybind11::cast<std::string>(pybind11::handle(opener.load())());
  }
  TORCH_CHECK(refusal.empty(), refusal);
  is_open = true;
}

// Tell the observer, who sees the Python stack. What it raises is printed and changes nothing.
inline void tell(const char* kind, const std::string& detail) {
  if (observer.load() == nullptr) return;
  pybind11::gil_scoped_acquire locked;
  try {
    pybind11::handle(observer.load())(kind, detail);
  } catch (pybind11::error_already_set& error) {
    error.discard_as_unraisable("the observer of the neuron stand-in");
  }
}

// Refuse what breaks a rule, by its name.
template <typename... Parts>
inline void check(bool is_kept, const char* rule, const Parts&... parts) {
  if (is_kept) return;
  tell("rule", rule);
  TORCH_CHECK(false, "neuron rule ", rule, ": ", parts...);
}

inline std::string shape(const at::Tensor& tensor) {
  std::ostringstream text;
  text << c10::toString(tensor.scalar_type()) << tensor.sizes();
  return text.str();
}

// How often each operator ran, and how many ran at all: an event has to be waited for where none came after it.
inline std::mutex operators_lock;
inline std::map<std::string, int64_t> operators;
inline std::atomic<int64_t> issued{0};

inline void count(const std::string& name) {
  ++issued;
  if (observer.load() == nullptr) return;
  std::lock_guard<std::mutex> locked(operators_lock);
  ++operators[name];
}

}  // namespace standin
